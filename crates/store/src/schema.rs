//! The tables of `meta.db`. `PRAGMA user_version` is the format's number: a store of a newer format is refused, one of an older
//! format is brought forward by the steps listed in [`STEPS`], under a lock and in one transaction.
//!
//! Times are milliseconds since 1970. `boot` is the boot in which a row was made, and null once its files are known to be on the
//! disk. `blobs.writing` is another number each time that a blob is written: ids of layers and mounts are never given twice, digests are.
//! Foreign keys are enforced: records, chains and leases vanish with their layer, compressed forms with their blob, while a layer
//! or a blob that an image needs cannot be deleted at all.

use rusqlite::{Connection, TransactionBehavior};

/// The format that this kiln reads and writes.
pub(crate) const FORMAT: i64 = STEPS.len() as i64;

/// `PRAGMA application_id` of every `meta.db`: "kiln".
pub(crate) const APPLICATION: i64 = 0x6b69_6c6e;

/// Step `n` brings format `n` to format `n + 1`.
const STEPS: [&str; 4] = [
    "
CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE layers (
    id        INTEGER PRIMARY KEY,
    content   BLOB NOT NULL,
    pulled    INTEGER NOT NULL,
    size      INTEGER NOT NULL,
    entries   INTEGER NOT NULL,
    diff_id   BLOB,
    diff_size INTEGER,
    created   INTEGER NOT NULL,
    used      INTEGER NOT NULL,
    boot      TEXT
);
CREATE UNIQUE INDEX layers_content ON layers (content) WHERE pulled = 0;
CREATE INDEX layers_undurable ON layers (id) WHERE boot IS NOT NULL;

CREATE TABLE chains (
    chain BLOB PRIMARY KEY,
    layer INTEGER NOT NULL REFERENCES layers ON DELETE CASCADE
) WITHOUT ROWID;
CREATE INDEX chains_layer ON chains (layer);

CREATE TABLE leases (
    process TEXT NOT NULL,
    layer   INTEGER NOT NULL REFERENCES layers ON DELETE CASCADE,
    PRIMARY KEY (process, layer)
) WITHOUT ROWID;
CREATE INDEX leases_layer ON leases (layer);

CREATE TABLE records (
    key     BLOB PRIMARY KEY,
    value   BLOB NOT NULL,
    layer   INTEGER REFERENCES layers ON DELETE CASCADE,
    created INTEGER NOT NULL,
    used    INTEGER NOT NULL
);
CREATE INDEX records_layer ON records (layer) WHERE layer IS NOT NULL;

CREATE TABLE blobs (
    digest  BLOB PRIMARY KEY,
    size    INTEGER NOT NULL,
    created INTEGER NOT NULL,
    used    INTEGER NOT NULL,
    boot    TEXT
) WITHOUT ROWID;
CREATE INDEX blobs_undurable ON blobs (digest) WHERE boot IS NOT NULL;

CREATE TABLE layer_blobs (
    diff_id    BLOB NOT NULL,
    variant    TEXT NOT NULL,
    blob       BLOB NOT NULL REFERENCES blobs ON DELETE CASCADE,
    media_type TEXT NOT NULL,
    PRIMARY KEY (diff_id, variant)
) WITHOUT ROWID;
CREATE INDEX layer_blobs_blob ON layer_blobs (blob);

CREATE TABLE images (
    id       INTEGER PRIMARY KEY,
    name     TEXT NOT NULL,
    platform TEXT NOT NULL,
    config   BLOB NOT NULL REFERENCES blobs,
    manifest BLOB REFERENCES blobs,
    created  INTEGER NOT NULL,
    size     INTEGER NOT NULL,
    pulled   INTEGER NOT NULL,
    used     INTEGER NOT NULL,
    UNIQUE (name, platform)
);
CREATE INDEX images_config ON images (config);
CREATE INDEX images_manifest ON images (manifest);

CREATE TABLE image_layers (
    image    INTEGER NOT NULL REFERENCES images ON DELETE CASCADE,
    position INTEGER NOT NULL,
    layer    INTEGER NOT NULL REFERENCES layers,
    PRIMARY KEY (image, position)
) WITHOUT ROWID;
CREATE INDEX image_layers_layer ON image_layers (layer);

CREATE TABLE image_blobs (
    image    INTEGER NOT NULL REFERENCES images ON DELETE CASCADE,
    position INTEGER NOT NULL,
    blob     BLOB NOT NULL,
    PRIMARY KEY (image, position)
) WITHOUT ROWID;

CREATE TABLE mounts (
    id      INTEGER PRIMARY KEY,
    key     TEXT NOT NULL,
    size    INTEGER,
    uses    INTEGER NOT NULL,
    created INTEGER NOT NULL,
    used    INTEGER NOT NULL,
    boot    TEXT
);
CREATE INDEX mounts_key ON mounts (key, created, id);
CREATE INDEX mounts_undurable ON mounts (id) WHERE boot IS NOT NULL;

CREATE TABLE memos (
    kind  TEXT NOT NULL,
    key   BLOB NOT NULL,
    value BLOB NOT NULL,
    used  INTEGER NOT NULL,
    PRIMARY KEY (kind, key)
);
CREATE INDEX memos_used ON memos (kind, used);
",
    "
ALTER TABLE mounts ADD COLUMN hits INTEGER NOT NULL DEFAULT 0;

CREATE TABLE mount_users (
    mount INTEGER NOT NULL REFERENCES mounts ON DELETE CASCADE,
    step  TEXT NOT NULL,
    used  INTEGER NOT NULL,
    PRIMARY KEY (mount, step)
) WITHOUT ROWID;
",
    "
ALTER TABLE images ADD COLUMN image_index BLOB;
",
    "
ALTER TABLE blobs ADD COLUMN writing INTEGER NOT NULL DEFAULT 0;
",
];

/// Brings a database to [`FORMAT`]. The caller makes sure that no other process does the same.
pub(crate) fn migrate(connection: &mut Connection) -> rusqlite::Result<()> {
    connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Exclusive)?;
    let from: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    for step in STEPS.iter().skip(usize::try_from(from).unwrap_or(0)) {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION)?;
    transaction.pragma_update(None, "user_version", FORMAT)?;
    transaction.commit()
}
