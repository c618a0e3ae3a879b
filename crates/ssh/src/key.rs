//! Private keys: read from a file, asked for signatures.
//!
//! Formats: OpenSSH's own (`openssh-key-v1`, PROTOCOL.key of OpenSSH), PKCS#8 and PKCS#1, all of them in PEM and without a
//! passphrase. Keys: Ed25519, ECDSA on P-256 and P-384, RSA from 2048 to 4096 bits. `ring` signs, in constant time, for a step
//! may ask for as many signatures as it likes.

use crate::wire::{Reader, put_number, put_string};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SystemRandom;
use ring::rsa::{KeyPair as RsaKeyPair, KeyPairComponents, PublicKeyComponents};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm,
    Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA512,
};
use std::fmt;

/// Flags of a request to sign, as the agent's protocol numbers them.
const RSA_SHA2_256: u32 = 2;
const RSA_SHA2_512: u32 = 4;

/// Why a file is not a usable private key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// It has no `-----BEGIN … PRIVATE KEY-----`.
    #[error("not a private key")]
    NotAKey,
    /// It has a passphrase.
    #[error("the key has a passphrase")]
    Encrypted,
    /// Something that kiln does not sign with.
    #[error("`{0}` keys are not supported")]
    Unsupported(&'static str),
    /// Its fields contradict its format.
    #[error("the key is malformed, or of a size that is not supported")]
    Malformed,
}

/// A private key.
pub struct Key {
    signer: Signer,
    /// The public key as SSH writes it.
    public: Vec<u8>,
}

enum Signer {
    Ed25519(Ed25519KeyPair),
    Ecdsa(EcdsaKeyPair, &'static Curve),
    Rsa(Box<RsaKeyPair>),
}

/// A curve for ECDSA.
struct Curve {
    /// As SSH calls it.
    name: &'static str,
    /// The name of keys and signatures.
    kind: &'static str,
    algorithm: &'static EcdsaSigningAlgorithm,
    /// Bytes of a private key, and of each half of a signature.
    size: usize,
}

static CURVES: [Curve; 2] = [
    Curve { name: "nistp256", kind: "ecdsa-sha2-nistp256", algorithm: &ECDSA_P256_SHA256_FIXED_SIGNING, size: 32 },
    Curve { name: "nistp384", kind: "ecdsa-sha2-nistp384", algorithm: &ECDSA_P384_SHA384_FIXED_SIGNING, size: 48 },
];

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

impl Key {
    /// Reads the text of a key file.
    ///
    /// # Errors
    /// If it is no private key, has a passphrase, or is of a kind that is not supported.
    pub fn parse(text: &[u8]) -> Result<Self, KeyError> {
        let text = std::str::from_utf8(text).map_err(|_| KeyError::NotAKey)?;
        let (label, body) = pem(text).ok_or(KeyError::NotAKey)?;
        if label.contains("ENCRYPTED") || body.contains("ENCRYPTED") {
            return Err(KeyError::Encrypted);
        }
        let joined: String = body.split_whitespace().collect();
        let bytes = STANDARD.decode(joined).map_err(|_| KeyError::Malformed)?;
        let signer = match label {
            "OPENSSH PRIVATE KEY" => openssh(&bytes)?,
            "PRIVATE KEY" => pkcs8(&bytes).ok_or(KeyError::Malformed)?,
            "RSA PRIVATE KEY" => {
                RsaKeyPair::from_der(&bytes).map(Box::new).map(Signer::Rsa).map_err(|_| KeyError::Malformed)?
            }
            "EC PRIVATE KEY" => return Err(KeyError::Unsupported("EC PRIVATE KEY")),
            "DSA PRIVATE KEY" => return Err(KeyError::Unsupported("DSA")),
            _ => return Err(KeyError::NotAKey),
        };
        let public = signer.public();
        Ok(Self { signer, public })
    }

    /// The public key as SSH writes it (RFC 4253, section 6.6).
    pub fn public(&self) -> &[u8] {
        &self.public
    }

    /// A signature as SSH writes it; `None` if the request's flags ask for what this key does not give.
    pub(crate) fn sign(&self, data: &[u8], flags: u32) -> Option<Vec<u8>> {
        let random = SystemRandom::new();
        let mut signature = Vec::new();
        match &self.signer {
            Signer::Ed25519(pair) => {
                put_string(&mut signature, b"ssh-ed25519");
                put_string(&mut signature, pair.sign(data).as_ref());
            }
            Signer::Ecdsa(pair, curve) => {
                let signed = pair.sign(&random, data).ok()?;
                let (r, s) = signed.as_ref().split_at_checked(curve.size)?;
                let mut numbers = Vec::new();
                put_number(&mut numbers, r);
                put_number(&mut numbers, s);
                put_string(&mut signature, curve.kind.as_bytes());
                put_string(&mut signature, &numbers);
            }
            Signer::Rsa(pair) => {
                // Without a flag it would be SHA-1, which no server of today takes.
                let (kind, padding) = match flags {
                    flags if flags & RSA_SHA2_512 != 0 => ("rsa-sha2-512", &RSA_PKCS1_SHA512),
                    flags if flags & RSA_SHA2_256 != 0 => ("rsa-sha2-256", &RSA_PKCS1_SHA256),
                    _ => return None,
                };
                let mut signed = vec![0; pair.public().modulus_len()];
                pair.sign(padding, &random, data, &mut signed).ok()?;
                put_string(&mut signature, kind.as_bytes());
                put_string(&mut signature, &signed);
            }
        }
        Some(signature)
    }
}

impl Signer {
    fn public(&self) -> Vec<u8> {
        let mut public = Vec::new();
        match self {
            Self::Ed25519(pair) => {
                put_string(&mut public, b"ssh-ed25519");
                put_string(&mut public, pair.public_key().as_ref());
            }
            Self::Ecdsa(pair, curve) => {
                put_string(&mut public, curve.kind.as_bytes());
                put_string(&mut public, curve.name.as_bytes());
                put_string(&mut public, pair.public_key().as_ref());
            }
            Self::Rsa(pair) => {
                let components: PublicKeyComponents<Vec<u8>> = pair.public().into();
                put_string(&mut public, b"ssh-rsa");
                put_number(&mut public, &components.e);
                put_number(&mut public, &components.n);
            }
        }
        public
    }
}

/// The label and the body of the first private key in a text.
fn pem(text: &str) -> Option<(&str, &str)> {
    let (_, rest) = text.split_once("-----BEGIN ")?;
    let (label, rest) = rest.split_once("-----")?;
    let (body, _) = rest.split_once("-----END ")?;
    label.ends_with("PRIVATE KEY").then_some((label, body))
}

fn pkcs8(bytes: &[u8]) -> Option<Signer> {
    if let Ok(pair) = Ed25519KeyPair::from_pkcs8_maybe_unchecked(bytes) {
        return Some(Signer::Ed25519(pair));
    }
    if let Ok(pair) = RsaKeyPair::from_pkcs8(bytes) {
        return Some(Signer::Rsa(Box::new(pair)));
    }
    CURVES.iter().find_map(|curve| {
        let pair = EcdsaKeyPair::from_pkcs8(curve.algorithm, bytes, &SystemRandom::new()).ok()?;
        Some(Signer::Ecdsa(pair, curve))
    })
}

/// `openssh-key-v1`.
fn openssh(bytes: &[u8]) -> Result<Signer, KeyError> {
    let mut outer = Reader(bytes.strip_prefix(b"openssh-key-v1\0").ok_or(KeyError::Malformed)?);
    let cipher = outer.string().ok_or(KeyError::Malformed)?;
    if cipher != b"none" {
        return Err(KeyError::Encrypted);
    }
    let _derivation = outer.string().zip(outer.string()).ok_or(KeyError::Malformed)?;
    if outer.u32() != Some(1) {
        return Err(KeyError::Malformed);
    }
    let (_public, private) = outer.string().zip(outer.string()).ok_or(KeyError::Malformed)?;
    let mut fields = Reader(private);
    let (one, two) = fields.u32().zip(fields.u32()).ok_or(KeyError::Malformed)?;
    if one != two {
        return Err(KeyError::Malformed);
    }
    let signer = match fields.string().ok_or(KeyError::Malformed)? {
        b"ssh-ed25519" => ed25519(&mut fields),
        b"ssh-rsa" => rsa(&mut fields),
        b"ecdsa-sha2-nistp521" => return Err(KeyError::Unsupported("ecdsa-sha2-nistp521")),
        b"ssh-dss" => return Err(KeyError::Unsupported("DSA")),
        kind if kind.starts_with(b"sk-") => return Err(KeyError::Unsupported("sk")),
        kind => {
            let curve = CURVES.iter().find(|curve| curve.kind.as_bytes() == kind).ok_or(KeyError::Malformed)?;
            ecdsa(&mut fields, curve)
        }
    };
    signer.ok_or(KeyError::Malformed)
}

fn ed25519(fields: &mut Reader<'_>) -> Option<Signer> {
    let public = fields.string()?;
    let seed = fields.string()?.get(..32)?;
    Ed25519KeyPair::from_seed_and_public_key(seed, public).ok().map(Signer::Ed25519)
}

fn ecdsa(fields: &mut Reader<'_>, curve: &'static Curve) -> Option<Signer> {
    let (_name, public, private) = (fields.string()?, fields.string()?, fields.number()?);
    let mut padded = vec![0; curve.size.checked_sub(private.len())?];
    padded.extend(private);
    let pair = EcdsaKeyPair::from_private_key_and_public_key(curve.algorithm, &padded, public, &SystemRandom::new());
    pair.ok().map(|pair| Signer::Ecdsa(pair, curve))
}

fn rsa(fields: &mut Reader<'_>) -> Option<Signer> {
    let (n, e, d) = (fields.number()?, fields.number()?, fields.number()?);
    let (q_inv, p, q) = (fields.number()?, fields.number()?, fields.number()?);
    // What OpenSSH leaves out, since it can be computed.
    let (dp, dq) = (remainder(d, &minus_one(p)?), remainder(d, &minus_one(q)?));
    let components =
        KeyPairComponents { public_key: PublicKeyComponents { n, e }, d, p, q, dP: &dp, dQ: &dq, qInv: q_inv };
    RsaKeyPair::from_components(&components).ok().map(Box::new).map(Signer::Rsa)
}

/// One less than an odd number.
fn minus_one(odd: &[u8]) -> Option<Vec<u8>> {
    let mut even = odd.to_vec();
    let last = even.last_mut().filter(|last| **last & 1 == 1)?;
    *last -= 1;
    Some(even)
}

/// The remainder of a division of big-endian numbers, bit by bit: it is done twice a key, and no faster than it needs to be.
fn remainder(dividend: &[u8], divisor: &[u8]) -> Vec<u8> {
    // One byte more than the divisor has, for the bit that is shifted in.
    let mut left = vec![0_u8; divisor.len() + 1];
    let mut wide = vec![0_u8];
    wide.extend(divisor);
    for byte in dividend {
        for bit in (0..8).rev() {
            let mut carry = byte >> bit & 1;
            for digit in left.iter_mut().rev() {
                (*digit, carry) = (*digit << 1 | carry, *digit >> 7);
            }
            if left >= wide {
                let mut borrow = false;
                for (digit, less) in left.iter_mut().zip(&wide).rev() {
                    let (once, first) = digit.overflowing_sub(*less);
                    let (twice, second) = once.overflowing_sub(u8::from(borrow));
                    (*digit, borrow) = (twice, first || second);
                }
            }
        }
    }
    let zeros = left.iter().take_while(|digit| **digit == 0).count();
    left.split_off(zeros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remainders() {
        for (dividend, divisor) in [(0_u64, 7_u64), (6, 7), (7, 7), (1 << 40, 12_345), (u64::MAX, 255), (u64::MAX, 256)]
        {
            let bytes = |number: u64| {
                let bytes = number.to_be_bytes();
                bytes[number.leading_zeros() as usize / 8..].to_vec()
            };
            assert_eq!(remainder(&dividend.to_be_bytes(), &bytes(divisor)), bytes(dividend % divisor));
        }
    }

    #[test]
    fn what_is_no_key() {
        let broken = |label: &str, body: &str| format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n");
        for (text, error) in [
            (String::new(), KeyError::NotAKey),
            ("ssh-ed25519 AAAA me".into(), KeyError::NotAKey),
            (broken("CERTIFICATE", "AAAA"), KeyError::NotAKey),
            (broken("OPENSSH PRIVATE KEY", "AAAA"), KeyError::Malformed),
            (broken("OPENSSH PRIVATE KEY", "not base64"), KeyError::Malformed),
            (broken("RSA PRIVATE KEY", "Proc-Type: 4,ENCRYPTED\n\nAAAA"), KeyError::Encrypted),
            (broken("ENCRYPTED PRIVATE KEY", "AAAA"), KeyError::Encrypted),
            (broken("RSA PRIVATE KEY", "AAAA"), KeyError::Malformed),
            (broken("PRIVATE KEY", "AAAA"), KeyError::Malformed),
            (broken("EC PRIVATE KEY", "AAAA"), KeyError::Unsupported("EC PRIVATE KEY")),
        ] {
            assert_eq!(Key::parse(text.as_bytes()).unwrap_err(), error, "{text}");
        }
        assert_eq!(Key::parse(b"\xff").unwrap_err(), KeyError::NotAKey);
    }
}
