//! Resolving: several at a time, and the first in the file that fails is told.

use crate::support::{Images, options, try_lower_with};
use kiln_lower::{ErrorKind, ImageRequest, ImageResolver, ResolveError, ResolvedImage};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Answers only once two questions are being asked at the same time.
struct Pair {
    images: Images,
    barrier: Barrier,
    late: AtomicBool,
}

impl ImageResolver for Pair {
    fn resolve(&self, request: &ImageRequest) -> Result<ResolvedImage, ResolveError> {
        self.barrier.wait();
        self.late.store(true, Ordering::Relaxed);
        self.images.resolve(request)
    }
}

#[test]
fn images_are_resolved_at_the_same_time() {
    let pair = Pair { images: Images::default(), barrier: Barrier::new(2), late: AtomicBool::new(false) };
    let (dockerfile, _) = kiln_dockerfile::parse("FROM a AS a\nFROM b\nCOPY --from=a / /\n");
    std::thread::scope(|scope| {
        let lowering = scope.spawn(|| kiln_lower::lower(&dockerfile, &options(), &pair));
        // One after the other would wait for ever; then release it, and fail.
        for _ in 0..500 {
            if lowering.is_finished() {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let in_time = lowering.is_finished();
        if !in_time {
            pair.barrier.wait();
            pair.barrier.wait();
        }
        assert!(in_time, "the second image was not asked for while the first was");
        assert!(lowering.join().unwrap().is_ok());
    });
}

#[test]
fn many_images_are_all_resolved() {
    let mut text = String::new();
    for n in 0..40 {
        text.push_str(&format!("FROM image{n} AS s{n}\n"));
    }
    text.push_str("FROM scratch\n");
    for n in 0..40 {
        text.push_str(&format!("COPY --from=s{n} / /\n"));
    }
    let images = Images::default();
    let lowered = crate::support::lower_with(&text, &options(), &images);
    assert_eq!(images.asked().len(), 40);
    assert_eq!(lowered.graph.vertices().len(), 80);
}

#[test]
fn the_first_that_fails_is_told_with_its_place() {
    let text = "FROM a AS a\nFROM missing:1 AS b\nFROM missing:2\nCOPY --from=a / /\nCOPY --from=b / /\n";
    let error = try_lower_with(text, &options(), &Images::default()).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Image);
    assert_eq!(error.message, "cannot resolve image `missing:1`");
    assert_eq!(&text[error.span.unwrap().range()], "missing:1");
    assert_eq!(error.source.unwrap().to_string(), "`docker.io/library/missing:1` does not exist");
}
