//! A web service that says hello: what `cargo xtask bench auto-cache` edits and builds.

use axum::{Json, Router, routing::get};
use clap::Parser;
use serde::Serialize;

const GREETING: &str = "Hello";

#[derive(Parser)]
struct Arguments {
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: String,
}

#[derive(Serialize)]
struct Answer {
    greeting: &'static str,
}

#[tokio::main]
async fn main() {
    tracing_subscriber::fmt::init();
    let arguments = Arguments::parse();
    let app = Router::new().route("/", get(|| async { Json(Answer { greeting: GREETING }) }));
    let listener = tokio::net::TcpListener::bind(&arguments.listen).await.expect("an address");
    tracing::info!("listening on {}", arguments.listen);
    axum::serve(listener, app).await.expect("a server");
}
