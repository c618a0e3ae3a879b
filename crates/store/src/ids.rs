//! Names of directories in the store: random, never given twice, written as 16 hexadecimal digits.

use crate::process::nonce;
use rusqlite::types::{FromSql, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A text that is not 16 hexadecimal digits.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not 16 hexadecimal digits")]
pub struct ParseIdError(pub(crate) String);

macro_rules! id_newtype {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub struct $name(i64);

        impl $name {
            pub(crate) fn random() -> Self {
                Self(nonce().cast_signed())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:016x}", self.0.cast_unsigned())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let digits = text.len() == 16 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
                match u64::from_str_radix(text, 16) {
                    Ok(id) if digits => Ok(Self(id.cast_signed())),
                    _ => Err(ParseIdError(text.to_owned())),
                }
            }
        }

        impl ToSql for $name {
            fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
                Ok(self.0.into())
            }
        }

        impl FromSql for $name {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
                i64::column_result(value).map(Self)
            }
        }
    };
}

id_newtype! {
    /// The name of a layer in this store.
    LayerId
}
id_newtype! {
    /// The name of one directory of a cache mount in this store.
    MountId
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips() {
        for _ in 0..100 {
            let id = LayerId::random();
            assert_eq!(id, id.to_string().parse().unwrap());
        }
        for bad in ["", "+123456789abcdef", "0123456789ABCDEF", "0123456789abcdef0", "../../etc/passwd"] {
            assert!(bad.parse::<LayerId>().is_err(), "{bad}");
        }
    }
}
