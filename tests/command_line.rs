//! What `pelago` writes, to whom, and what becomes of it when nobody reads: lines for programs, one by one.

use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;
use tests::binary;
use tests::client::Client;
use tests::cluster::Cluster;
use tests::node::{Node, text};
use tests::place::{free_datagram_address, free_stream_address, own_host};
use tests::wait;

/// A process that ends with this value.
struct Process(Child);

impl Process {
    /// Starts it; what it writes goes to pipes.
    fn start(command: &mut Command) -> Self {
        let process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        Self(process.expect("the program under test starts"))
    }

    /// The lines of its standard output as JSON. When they are dropped, nobody reads from the line after the next on.
    fn lines(&mut self) -> Lines {
        let out = BufReader::new(self.0.stdout.take().expect("nobody has it yet"));
        let (sender, receiver) = channel();
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Lines(receiver)
    }

    /// From now on nobody reads what it answers.
    fn leave(&mut self) {
        drop(self.0.stdout.take().expect("nobody has it yet"));
    }

    /// Waits until it has ended by itself; its status and what it complained of.
    fn end(&mut self) -> (ExitStatus, String) {
        let process = &mut self.0;
        let status = wait::until("it ends", || {
            process.try_wait().expect("the process is ours").ok_or_else(|| "it runs".to_owned())
        });
        let mut said = Vec::new();
        let mut errors = process.stderr.take().expect("nobody has it yet");
        errors.read_to_end(&mut said).expect("its complaints can be read");
        (status, text(&said))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a process says.
struct Lines(Receiver<String>);

impl Lines {
    /// The next line, or nothing at the end.
    fn receive(&self) -> Option<Value> {
        match self.0.recv_timeout(wait::PATIENCE) {
            Ok(line) => Some(serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("no line came"),
        }
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// `pelago init`, which needs nobody.
fn init(directory: &Path) -> Command {
    let mut command = binary::command();
    command.args(["init", "--json", "--region", "eu", "--resp", "127.0.0.1:1", "--peer", "127.0.0.1:2", "--dir"]);
    command.arg(directory);
    command
}

/// Whoever is there answers for a while, which no process does that is about to end.
fn goes_on(address: impl Fn() -> Option<String>) {
    let mut client = wait::until("commands are answered", || {
        let address = address().ok_or("nobody knows where")?;
        let mut client = Client::connect(&address).map_err(|error| error.to_string())?;
        let answer = client.try_call(&["SET", "k", "v"]).map_err(|error| error.to_string())?;
        if answer.is_error() { Err(answer.to_string()) } else { Ok(client) }
    });
    for _ in 0..100 {
        client.must("PING");
        wait::pause(Duration::from_millis(10));
    }
}

#[test]
fn a_node_goes_on_when_nobody_reads_what_it_says() {
    let mut cluster = Cluster::start(&["only"]);
    let node = &mut cluster.nodes[0];
    assert!(node.stop().success(), "the node ends in order");
    let mut command = binary::command();
    command.args(["serve", "--json", "--dir"]).arg(&node.directory);
    for setting in &node.settings {
        command.args(["--set", setting]);
    }
    let mut process = Process::start(&mut command);
    process.leave();
    goes_on(|| Some(node.resp.clone()));
}

#[test]
fn regions_of_one_process_go_on_when_nobody_reads_what_it_says() {
    for format in [&["--json"][..], &[]] {
        let home = tempfile::tempdir().expect("a directory");
        let directory = home.path().join("cluster");
        let mut command = binary::command();
        command.args(["dev", "--regions", "a,b", "--resp-port", "0", "--dir"]).arg(&directory).args(format);
        let mut process = Process::start(&mut command);
        process.leave();
        goes_on(|| {
            let settings = fs::read_to_string(directory.join("a-1/pelago.toml")).ok()?;
            let address = settings.lines().find_map(|line| line.strip_prefix("resp = "))?;
            Some(address.trim_matches('"').to_owned())
        });
    }
}

#[test]
fn an_answer_that_cannot_be_written_is_a_failure() {
    let home = tempfile::tempdir().expect("a directory");
    let full = File::options().write(true).open("/dev/full").expect("a device that is always full");
    let output = init(&home.path().join("full")).stdout(full).output().expect("the program under test starts");
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.starts_with("pelago: cannot write to standard output: "), "{said}");
    assert_eq!(said.trim().lines().count(), 1, "an error is one sentence: {said}");
    // Who does not want to read it does not hear of it.
    let mut process = Process::start(&mut init(&home.path().join("unread")));
    process.leave();
    let (status, said) = process.end();
    assert!(status.success() && said.is_empty(), "{status}: {said}");
}

#[test]
fn what_is_watched_is_shown_again_until_its_reader_goes() {
    let cluster = Cluster::start(&["only"]);
    for verb in [&["status"][..], &["lag"], &["region", "list"]] {
        for watch in [&["--watch", "0.1"][..], &["--watch=0.1"]] {
            let mut command = binary::command();
            command.args(verb).args(watch).args(["--json", "--via", &cluster.nodes[0].resp]);
            let mut process = Process::start(&mut command);
            let lines = process.lines();
            for _ in 0..3 {
                let line = lines.receive();
                assert!(line.as_ref().is_some_and(Value::is_object), "{verb:?}: {line:?}");
            }
            drop(lines);
            let (status, said) = process.end();
            assert!(status.success() && said.is_empty(), "{verb:?}: {status}: {said}");
        }
    }
}

#[test]
fn who_waits_for_a_region_is_told_in_json_that_it_serves() {
    let cluster = Cluster::start(&["us-east"]);
    let host = own_host();
    let addresses = [free_stream_address(host), free_datagram_address(host), free_stream_address(host)];
    let [resp, peer, http] = &addresses;
    let directory = cluster.directory().join("new");
    let mut command = binary::command();
    command.args(["region", "add", "eu-west", "--wait", "--json", "--via", &cluster.nodes[0].resp]);
    command.args(["--resp", resp, "--peer", peer, "--http", http]);
    command.args(["--ca", &shown(&cluster.authority()), "--out", &shown(&directory)]);
    let mut process = Process::start(&mut command);
    let lines = process.lines();
    let admitted = lines.receive().expect("a line about what was made");
    assert_eq!((&admitted["node"], &admitted["dir"]), (&json!("eu-west-1"), &json!(shown(&directory))), "{admitted}");
    let mut node = Node::new("eu-west", directory, addresses, &["development=yes", "workers=1"]);
    node.start();
    assert_eq!(lines.receive(), Some(json!({ "node": "eu-west-1", "serves": true })));
    assert_eq!(lines.receive(), None);
    let (status, said) = process.end();
    assert!(status.success() && said.is_empty(), "{status}: {said}");
}

#[test]
fn a_user_that_is_named_without_a_password_is_the_user_that_asks() {
    let cluster = Cluster::start(&["only"]);
    let node = &cluster.nodes[0];
    let mut client = node.client();
    client.must("ACL SETUSER open on nopass +@all");
    client.must("ACL SETUSER guarded on >secret +@all");
    let asked = node.pelago(&["status", "--user", "open"]);
    assert!(asked.status.success(), "{}", text(&asked.stderr));
    for user in ["guarded", "nobody"] {
        let asked = node.pelago(&["status", "--user", user]);
        assert!(!asked.status.success(), "{user} was let in: {}", text(&asked.stdout));
        assert!(text(&asked.stderr).contains("WRONGPASS"), "{}", text(&asked.stderr));
    }
}

#[test]
fn a_verdict_is_the_exit_status_although_nobody_reads_it() {
    let mut cluster = Cluster::start(&["us-east", "eu-west"]);
    let mut verify = binary::command();
    verify.args(["verify", "--json", "--timeout", "1", "--via", &cluster.nodes[0].resp]);
    let ended = |verify: &mut Command| {
        let mut process = Process::start(verify);
        process.leave();
        process.end()
    };
    let (status, said) = ended(&mut verify);
    assert!(status.success() && said.is_empty(), "{status}: {said}");
    cluster.nodes[1].kill();
    let (status, said) = ended(&mut verify);
    assert_eq!((status.code(), said.as_str()), (Some(3), ""));
    // And whoever reads it is not told that the node is busy.
    let output = verify.output().expect("the program under test starts");
    assert_eq!(output.status.code(), Some(3));
    let told: Value = serde_json::from_slice(&output.stdout).expect("a line of JSON");
    let peer = &told["peers"][0];
    assert_eq!(
        (&peer["unreachable"], &peer["unsettled"], &peer["busy"]),
        (&json!(true), &json!(0), &json!([])),
        "{told}"
    );
    assert!(peer["error"].is_string() && peer["not_asked"].as_u64() > Some(0), "{told}");
}

#[test]
fn a_bench_that_is_stopped_leaves_no_keys() {
    let cluster = Cluster::start(&["us-east", "eu-west"]);
    let via = format!("{},{}", cluster.nodes[0].resp, cluster.nodes[1].resp);
    let mut bench = binary::command();
    bench.args([
        "bench",
        "--json",
        "--calls",
        "set",
        "--clients",
        "4",
        "--keys",
        "3000",
        "--seconds",
        "3600",
        "--via",
        &via,
    ]);
    let mut process = Process::start(&mut bench);
    wait::until("the load has begun", || match cluster.nodes[1].keys() {
        0 => Err("there are no keys".to_owned()),
        _ => Ok(()),
    });
    let interrupted = Command::new("kill").args(["-INT", &process.0.id().to_string()]).status();
    assert!(interrupted.expect("kill is there").success());
    let (status, said) = process.end();
    assert_eq!(status.code(), Some(1), "{said}");
    assert_eq!(said, "pelago: it was told to stop before the load was over; its keys are removed\n");
    cluster.await_equal();
    assert_eq!(cluster.nodes.iter().map(Node::keys).collect::<Vec<_>>(), [0, 0]);
}

#[test]
fn a_setting_that_could_not_be_saved_is_in_force_and_no_success() {
    let cluster = Cluster::start(&["only"]);
    let node = &cluster.nodes[0];
    // A directory stands where the new file would be written.
    let beside = node.directory.join("pelago.toml.new");
    fs::create_dir(&beside).expect("it is not there");
    let output = node.pelago(&["config", "set", "timeout", "77", "--save"]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("is in force, but it is not saved") && said.contains("Rewriting config file"), "{said}");
    assert_eq!(node.client().must("CONFIG GET timeout").to_string(), "[timeout 77]");
    fs::remove_dir(&beside).expect("it is empty");
    assert!(node.pelago(&["config", "set", "timeout", "78", "--save"]).status.success());
    let saved = fs::read_to_string(node.directory.join("pelago.toml")).expect("it is there");
    assert!(saved.contains("timeout = 78") && !beside.exists(), "{saved}");
}
