//! What a bench leaves behind: nothing, however it ends.

use super::*;
use clap::Parser;
use server::config::{Address, Sources};
use server::launch::{LaunchOptions, Running, launch, wall_clock};
use server::setup::{CONFIGURATION_FILE, NodePlan, found_cluster};
use tempfile::TempDir;

/// A node of its own in this process.
struct Site {
    running: Running,
    _home: TempDir,
}

impl Site {
    fn with(settings: &[(&str, &str)]) -> Self {
        let home = tempfile::tempdir().unwrap();
        let any = Address::new("127.0.0.1", 0);
        let plan = NodePlan {
            region: "us-east".to_owned(),
            node: None,
            resp: any.clone(),
            peer: any,
            advertise: None,
            http: None,
        };
        let made = found_cluster(home.path(), &[plan], wall_clock()).unwrap();
        let mut sources = Sources::new();
        sources.read_file(&made.nodes[0].join(CONFIGURATION_FILE)).unwrap();
        for (name, value) in [("workers", "1"), ("persistence", "off")].iter().chain(settings) {
            sources.argument(name, value, "the test").unwrap();
        }
        let options = LaunchOptions { logging: None, allocator: Some(crate::allocator::figures) };
        let running = launch(sources, &options).unwrap();
        while running.node().condition.is_loading() {
            std::thread::yield_now();
        }
        Self { running, _home: home }
    }

    fn address(&self) -> String {
        self.running.addresses().resp.to_string()
    }

    fn keys(&self) -> u64 {
        self.running.node().keyspace.len(0)
    }

    fn end(self) {
        self.running.node().console.request_stop(server::console::Stop::Now);
        self.running.wait().unwrap();
    }
}

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    bench: Bench,
}

fn bench(arguments: &str) -> Bench {
    Line::parse_from(
        ["bench", "--no-lag", "--json", "--calls", "set", "--clients", "2"].into_iter().chain(arguments.split(' ')),
    )
    .bench
}

fn run(bench: &Bench, stop: &Stop) -> Result<()> {
    let connections = load::connect(&bench.via, bench.clients, &bench.secret)?;
    bench.run_over(connections, Vec::new(), stop)
}

#[test]
fn a_bench_that_is_told_to_stop_ends_at_once_and_removes_its_keys() {
    let site = Site::with(&[]);
    let stop = Stop::never();
    let course = bench(&format!("--via {} --keys 2500 --seconds 86400", site.address()));
    std::thread::scope(|scope| {
        let running = scope.spawn(|| run(&course, &stop));
        while site.keys() == 0 && !running.is_finished() {
            std::thread::yield_now();
        }
        stop.tell();
        let said = running.join().unwrap().unwrap_err().to_string();
        assert_eq!(said, "it was told to stop before the load was over; its keys are removed");
    });
    assert_eq!(site.keys(), 0);
    site.end();
}

#[test]
fn a_probe_that_is_refused_leaves_nothing_behind() {
    let site = Site::with(&[]);
    let mut client = Password::default().connect(&site.address()).unwrap();
    let course = bench(&format!("--via {} --keys 100 --seconds 86400", site.address()));
    let route = Route::open(&site.address(), "eu-west-1", &site.address(), &course.secret).unwrap();
    let connections = load::connect(&course.via, course.clients, &course.secret).unwrap();
    std::thread::scope(|scope| {
        let running = scope.spawn(|| course.run_over(connections, vec![route], &Stop::never()));
        while site.keys() == 0 && !running.is_finished() {
            std::thread::yield_now();
        }
        client.call(&["CONFIG", "SET", "maxmemory", "1"]).unwrap();
        let said = running.join().unwrap().unwrap_err().to_string();
        assert!(said.contains("OOM"), "{said}");
    });
    assert_eq!(site.keys(), 0);
    site.end();
}

#[test]
fn what_cannot_be_removed_is_told_with_what_to_do() {
    let site = Site::with(&[]);
    let mut client = Password::default().connect(&site.address()).unwrap();
    client.call(&["ACL", "SETUSER", "default", "-del"]).unwrap();
    let course = bench(&format!("--via {} --keys 50 --requests 500", site.address()));
    let said = run(&course, &Stop::never()).unwrap_err().to_string();
    let begins = format!("keys that begin with pelago-bench: could not all be removed at {}", site.address());
    assert!(said.starts_with(&begins) && said.contains("--keys 50 --requests 0` removes them"), "{said}");
    client.call(&["ACL", "SETUSER", "default", "+del"]).unwrap();
    // A bench without requests removes as the others do.
    run(&bench(&format!("--via {} --keys 50 --requests 0", site.address())), &Stop::never()).unwrap();
    assert_eq!(site.keys(), 0);
    site.end();
}
