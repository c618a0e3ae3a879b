//! The store against a model of it: random operations by two processes, each of which may end, and machines that lose power.
//! After each operation the store must hold exactly what the model says, and each row's files must be in place.

use crate::durability::Boot;
use crate::ids::LayerId;
use crate::testing::{commit, commit_pulled, entries, key};
use crate::{Image, Lease, LeaseError, PruneOptions, Store, UsageKind};
use kiln_digest::Digest;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::SystemTime;

const PLATFORM: &str = "linux/amd64";

/// What can happen; `usize`s choose among what there is.
#[derive(Clone, Debug)]
enum Op {
    Commit { pulled: bool, content: u8 },
    Record { key: u8, layer: Option<usize> },
    Image { name: u8, pulled: bool, layers: Vec<usize> },
    RemoveImage { name: u8 },
    Blob { content: u8 },
    Lease { layer: usize },
    EndLease,
    Prune { all: bool },
    Reopen,
    Sync,
    PowerLoss,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (any::<bool>(), 0..6_u8).prop_map(|(pulled, content)| Op::Commit { pulled, content }),
        3 => (0..6_u8, any::<Option<usize>>()).prop_map(|(key, layer)| Op::Record { key, layer }),
        3 => (0..4_u8, any::<bool>(), proptest::collection::vec(any::<usize>(), 0..3))
            .prop_map(|(name, pulled, layers)| Op::Image { name, pulled, layers }),
        1 => (0..4_u8).prop_map(|name| Op::RemoveImage { name }),
        2 => (0..4_u8).prop_map(|content| Op::Blob { content }),
        2 => any::<usize>().prop_map(|layer| Op::Lease { layer }),
        1 => Just(Op::EndLease),
        3 => any::<bool>().prop_map(|all| Op::Prune { all }),
        2 => Just(Op::Reopen),
        1 => Just(Op::Sync),
        1 => Just(Op::PowerLoss),
    ]
}

/// A layer or a blob.
#[derive(Clone, Debug, Default)]
struct Kept {
    synced: bool,
}

#[derive(Clone, Debug)]
struct Named {
    pulled: bool,
    layers: Vec<LayerId>,
    config: Digest,
}

#[derive(Default)]
struct Model {
    layers: BTreeMap<LayerId, Kept>,
    /// By (pulled, content).
    contents: BTreeMap<(bool, u8), LayerId>,
    records: BTreeMap<u8, Option<LayerId>>,
    images: BTreeMap<String, Named>,
    blobs: BTreeMap<Digest, Kept>,
}

/// One process.
struct Process {
    store: Store,
    made: BTreeSet<LayerId>,
    leases: Vec<Lease>,
    claimed: BTreeSet<Digest>,
}

impl Process {
    fn start(root: &Path, boot: u32) -> Self {
        let store = Store::open_in_boot(root, Boot::named(&format!("boot {boot}"))).unwrap();
        Self { store, made: BTreeSet::new(), leases: Vec::new(), claimed: BTreeSet::new() }
    }

    fn leases(&self, layer: LayerId) -> bool {
        self.made.contains(&layer) || self.leases.iter().any(|lease| lease.layers().contains(&layer))
    }
}

impl Model {
    fn choose(&self, choice: usize) -> Option<LayerId> {
        self.layers.keys().nth(choice.checked_rem(self.layers.len())?).copied()
    }

    fn drop_layers(&mut self, gone: impl Fn(LayerId) -> bool) {
        self.layers.retain(|&layer, _| !gone(layer));
        self.contents.retain(|_, &mut layer| !gone(layer));
        self.records.retain(|_, layer| !layer.is_some_and(&gone));
        self.images.retain(|_, image| !image.layers.iter().any(|&layer| gone(layer)));
    }

    fn prune(&mut self, all: bool, processes: &[Process]) {
        let leased = |layer| processes.iter().any(|process| process.leases(layer));
        let claimed = |blob: &Digest| processes.iter().any(|process| process.claimed.contains(blob));
        let images: Vec<Named> = self.images.values().cloned().collect();
        let in_use = |image: &Named| image.layers.iter().any(|&layer| leased(layer)) || claimed(&image.config);
        let keeps = |image: &Named| !image.pulled || in_use(image) || !all;
        let layer_stays =
            |layer| leased(layer) || images.iter().any(|image| keeps(image) && image.layers.contains(&layer));
        let blob_stays =
            |blob: &Digest| claimed(blob) || images.iter().any(|image| keeps(image) && image.config == *blob);
        self.images.retain(|_, image| keeps(image));
        self.drop_layers(|layer| !layer_stays(layer));
        self.blobs.retain(|blob, _| blob_stays(blob));
        if all {
            self.records.clear();
        }
    }

    fn lose_power(&mut self) {
        let lost: BTreeSet<LayerId> =
            self.layers.iter().filter(|(_, kept)| !kept.synced).map(|(&layer, _)| layer).collect();
        self.drop_layers(|layer| lost.contains(&layer));
        self.blobs.retain(|_, kept| kept.synced);
        let blobs = &self.blobs;
        self.images.retain(|_, image| blobs.contains_key(&image.config));
    }

    fn check(&self, store: &Store) {
        let rows = store.du().unwrap().rows;
        let ids = |kind| -> BTreeSet<String> {
            rows.iter().filter(|row| row.kind == kind).map(|row| row.id.clone()).collect()
        };
        assert_eq!(ids(UsageKind::Layer), self.layers.keys().map(ToString::to_string).collect());
        assert_eq!(ids(UsageKind::Blob), self.blobs.keys().map(ToString::to_string).collect());
        for &layer in self.layers.keys() {
            assert!(store.layer_path(layer).join("file").exists());
        }
        assert_eq!(entries(store, "layers"), self.layers.len());
        for blob in self.blobs.keys() {
            assert_eq!(Digest::of_bytes(&std::fs::read(store.blob_path(blob)).unwrap()), *blob);
        }
        for n in 0..6 {
            let record = store.record(&key(&n.to_string())).unwrap();
            assert_eq!(record.map(|record| record.layer), self.records.get(&n).copied());
        }
        let images = store.images().unwrap();
        let found: Vec<_> = images.iter().map(|image| (&image.name, image.pulled, &image.layers)).collect();
        let known: Vec<_> = self.images.iter().map(|(name, image)| (name, image.pulled, &image.layers)).collect();
        assert_eq!(found, known);
    }
}

/// Does one thing to both.
fn apply(model: &mut Model, processes: &mut Vec<Process>, who: usize, op: Op, boot: &mut u32) {
    let process = &mut processes[who];
    let store = process.store.clone();
    match op {
        Op::Commit { pulled, content } => {
            let make = if pulled { commit_pulled } else { commit };
            let layer = make(&store, &content.to_string()).id;
            let known = *model.contents.entry((pulled, content)).or_insert(layer);
            assert_eq!(layer, known);
            model.layers.entry(layer).or_default();
            process.made.insert(layer);
        }
        Op::Record { key: name, layer } => {
            let layer = layer.and_then(|choice| model.choose(choice));
            store.put_record(&key(&name.to_string()), b"", layer).unwrap();
            model.records.insert(name, layer);
        }
        Op::Image { name, pulled, layers } => {
            let layers: Vec<LayerId> = layers.into_iter().filter_map(|choice| model.choose(choice)).collect();
            let config = store.put_blob(&[name]).unwrap();
            process.claimed.insert(config);
            model.blobs.entry(config).or_default();
            let name = format!("image-{name}");
            let image = Image {
                name: name.clone(),
                platform: PLATFORM.to_owned(),
                config,
                index: None,
                manifest: None,
                created: SystemTime::UNIX_EPOCH,
                size: 0,
                pulled,
                layers: layers.clone(),
                blobs: Vec::new(),
            };
            store.put_image(&image).unwrap();
            model.images.insert(name, Named { pulled, layers, config });
        }
        Op::RemoveImage { name } => {
            let name = format!("image-{name}");
            assert_eq!(store.remove_image(&name).is_ok(), model.images.remove(&name).is_some());
        }
        Op::Blob { content } => {
            let blob = store.put_blob(&[content]).unwrap();
            model.blobs.entry(blob).or_default();
            process.claimed.insert(blob);
        }
        Op::Lease { layer } => {
            let Some(layer) = model.choose(layer) else { return };
            process.leases.push(store.lease(&[layer]).unwrap());
            let gone = LayerId::random();
            assert!(matches!(store.lease(&[layer, gone]), Err(LeaseError::Missing(id)) if id == gone));
        }
        Op::EndLease => drop(process.leases.pop()),
        Op::Prune { all } => {
            // The other process's ended leases are in the database until its next write.
            for process in &*processes {
                process.store.lease(&[]).unwrap();
                let mut db = process.store.0.db();
                crate::leases::drop_released(&mut db, process.store.0.process.name()).unwrap();
            }
            store.prune(&PruneOptions { all, ..PruneOptions::default() }).unwrap();
            model.prune(all, processes);
        }
        Op::Reopen => {
            let root = store.root().to_owned();
            drop(store);
            drop(processes.remove(who));
            processes.insert(who, Process::start(&root, *boot));
        }
        Op::Sync => {
            store.sync().unwrap();
            model.layers.values_mut().chain(model.blobs.values_mut()).for_each(|kept| kept.synced = true);
        }
        Op::PowerLoss => {
            let root = store.root().to_owned();
            drop(store);
            processes.clear();
            *boot += 1;
            processes.extend([Process::start(&root, *boot), Process::start(&root, *boot)]);
            model.lose_power();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn the_store_holds_what_the_model_says(ops in proptest::collection::vec((0..2_usize, op()), 1..40)) {
        let root = tempfile::tempdir().unwrap();
        let mut boot = 0;
        let mut processes = vec![Process::start(root.path(), boot), Process::start(root.path(), boot)];
        let mut model = Model::default();
        for (who, op) in ops {
            apply(&mut model, &mut processes, who, op, &mut boot);
            model.check(&processes[who].store);
        }
        drop(processes);
        prop_assert_eq!(std::fs::read_dir(root.path().join("tmp")).unwrap().count(), 0);
    }
}
