//! Nodes on threads and real sockets of this machine.

use super::*;
use crate::console::Stop;
use crate::setup::{CATALOGUE_DIRECTORY, CONFIGURATION_FILE, MEMBERSHIP_FILE, NodePlan, found_cluster};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;

fn plan(region: &str) -> NodePlan {
    let anywhere = crate::config::Address::new("127.0.0.1", 0);
    NodePlan {
        region: region.to_owned(),
        node: None,
        resp: anywhere.clone(),
        peer: anywhere.clone(),
        advertise: None,
        http: Some(anywhere),
    }
}

fn sources(directory: &Path) -> Sources {
    let mut sources = Sources::new();
    sources.read_file(&directory.join(CONFIGURATION_FILE)).unwrap();
    sources.argument("workers", "1", "the test").unwrap();
    sources
}

fn ask(address: SocketAddr, request: &str, answer_ends: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    let mut byte = [0];
    while !String::from_utf8_lossy(&answer).ends_with(answer_ends) && stream.read(&mut byte).unwrap() > 0 {
        answer.push(byte[0]);
    }
    String::from_utf8(answer).unwrap()
}

#[test]
fn a_founded_node_serves_clients_and_probes_and_stops_when_a_client_says_so() {
    let home = tempfile::tempdir().unwrap();
    let made = found_cluster(home.path(), &[plan("us-east")], wall_clock()).unwrap();
    for life in 1..=2 {
        let running = launch(sources(&made.nodes[0]), &LaunchOptions::default()).unwrap();
        let addresses = running.addresses();
        assert_ne!(addresses.resp.port(), 0);
        assert_eq!(running.node().config.load().resp.port(), addresses.resp.port());
        until("service", || ask(addresses.resp, "PING\r\n", "\r\n") == "+PONG\r\n");
        assert!(ask(addresses.http.unwrap(), "GET /livez HTTP/1.0\r\n\r\n", "alive\n").ends_with("alive\n"));
        assert_eq!(ask(addresses.resp, "SHUTDOWN\r\n", "never"), "", "life {life}");
        running.wait().unwrap();
    }
}

#[test]
fn a_node_that_is_to_stop_at_once_keeps_what_it_has_acknowledged() {
    let home = tempfile::tempdir().unwrap();
    let made = found_cluster(home.path(), &[plan("us-east")], wall_clock()).unwrap();
    let start = || launch(sources(&made.nodes[0]), &LaunchOptions::default()).unwrap();
    let running = start();
    // Until a node takes writes it answers an error.
    let counted = |running: &Running| ask(running.addresses().resp, "INCRBY counter 0\r\n", "\r\n");
    until("service", || counted(&running) == ":0\r\n");
    let mut stream = TcpStream::connect(running.addresses().resp).unwrap();
    let mut sends = stream.try_clone().unwrap();
    // The node hangs up meanwhile.
    let sender = std::thread::spawn(move || sends.write_all("INCR counter\r\n".repeat(200_000).as_bytes()).is_ok());
    let (mut answers, mut bytes) = (0, [0; 4096]);
    while let Ok(read @ 1..) = stream.read(&mut bytes) {
        answers += bytes[..read].iter().filter(|byte| **byte == b':').count();
        running.node().console.request_stop(Stop::Now);
    }
    let _ = sender.join().unwrap();
    running.wait().unwrap();
    let running = start();
    until("service", || counted(&running).starts_with(':'));
    let kept: usize = counted(&running)[1..].trim_end().parse().unwrap();
    assert!(answers > 0 && kept >= answers, "{kept} of {answers}");
    running.node().console.request_stop(Stop::Now);
    running.wait().unwrap();
}

#[test]
fn what_does_not_fit_together_is_refused_in_a_sentence() {
    let home = tempfile::tempdir().unwrap();
    let made = found_cluster(home.path(), &[plan("us-east"), plan("eu-west")], wall_clock()).unwrap();
    let refused = |changed: &[(&str, &str)]| {
        let mut sources = sources(&made.nodes[0]);
        for (name, value) in changed {
            sources.argument(name, value, "the test").unwrap();
        }
        launch(sources, &LaunchOptions::default()).unwrap_err().to_string()
    };
    assert!(refused(&[("region", "")]).contains("region is not set"));
    assert!(refused(&[("cluster-id", "abc")]).contains("32 hexadecimal digits"));
    assert!(refused(&[("cluster-id", &"0".repeat(32))]).contains("is not of the cluster 000"));
    assert!(refused(&[("node", "eu-west-1")]).contains("the certificate is that of node us-east-1"));
    assert!(refused(&[("key", "nowhere.key")]).contains("nowhere.key"));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    assert!(refused(&[("resp", &address)]).contains("cannot listen for clients on 127.0.0.1"));
}

#[test]
fn a_directory_serves_one_process_at_a_time_and_is_free_again_afterwards() {
    let home = tempfile::tempdir().unwrap();
    let made = found_cluster(home.path(), &[plan("us-east")], wall_clock()).unwrap();
    let first = launch(sources(&made.nodes[0]), &LaunchOptions::default()).unwrap();
    let second = launch(sources(&made.nodes[0]), &LaunchOptions::default()).unwrap_err();
    assert!(matches!(second, LaunchError::Catalogue(CatalogueError::InUse(_))), "{second}");
    first.node().console.request_stop(Stop::Orderly);
    first.wait().unwrap();
    let third = launch(sources(&made.nodes[0]), &LaunchOptions::default()).unwrap();
    third.node().console.request_stop(Stop::Now);
    third.wait().unwrap();
}

#[test]
fn a_node_that_nobody_admitted_does_not_wait_for_ever() {
    let home = tempfile::tempdir().unwrap();
    let made = found_cluster(home.path(), &[plan("us-east")], wall_clock()).unwrap();
    // What a certificate and a file of settings alone make of a directory.
    std::fs::remove_dir_all(made.nodes[0].join(CATALOGUE_DIRECTORY)).unwrap();
    std::fs::remove_file(made.nodes[0].join(MEMBERSHIP_FILE)).unwrap();
    for _ in 0..2 {
        let refused = launch(sources(&made.nodes[0]), &LaunchOptions::default()).unwrap_err();
        assert!(matches!(refused, LaunchError::Peers(StartError::NotAdmitted)), "{refused}");
        assert!(refused.to_string().contains("run `pelago region add`"), "{refused}");
    }
}

/// Two nodes that know each other's real addresses.
fn pair(home: &Path, settings: &[(&str, &str)]) -> [Running; 2] {
    let bound = ["us-east", "eu-west"].map(|region| {
        let mut wanted = Sources::new();
        for name in ["resp", "peer", "http"] {
            wanted.argument(name, "127.0.0.1:0", "the test").unwrap();
        }
        let sockets = Sockets::bind(&wanted.finish().unwrap().load()).unwrap();
        let real = sockets.addresses().unwrap();
        let address = |real: SocketAddr| crate::config::Address::new(real.ip().to_string(), real.port());
        let plan = NodePlan {
            resp: address(real.resp),
            peer: address(real.peer),
            http: real.http.map(address),
            ..plan(region)
        };
        (plan, sockets)
    });
    let plans: Vec<NodePlan> = bound.iter().map(|(plan, _)| plan.clone()).collect();
    let made = found_cluster(home, &plans, wall_clock()).unwrap();
    let mut directories = made.nodes.iter();
    bound.map(|(_, sockets)| {
        let mut sources = sources(directories.next().unwrap());
        for (name, value) in settings {
            sources.argument(name, value, "the test").unwrap();
        }
        launch_on(sockets, sources, &LaunchOptions::default()).unwrap()
    })
}

/// Looks again and again until something holds.
fn until(what: &str, holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "{what} does not come about");
        std::thread::yield_now();
    }
}

fn status(node: &Running, wanted: &str) -> bool {
    ask(node.addresses().resp, "PELAGO STATUS\r\n", "}\r\n").contains(wanted)
}

const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

#[test]
fn a_second_wish_to_stop_ends_the_wait_for_peers() {
    let home = tempfile::tempdir().unwrap();
    // A peer that is stuck is not taken for gone while the test lasts.
    let [first, second] = pair(home.path(), &[("link-silence-ms", "60000")]);
    until("a link", || status(&first, "\"link\":\"up\",\"node\":\"eu-west-1\""));
    // The second node cannot apply what the first writes: somebody holds the key.
    let keyspace = Arc::clone(&second.node().keyspace);
    let mut writer = keyspace.writer();
    let held = writer.access(wall_clock(), &[b"k"]);
    until("a write", || ask(first.addresses().resp, "SET k v\r\n", "\r\n") == "+OK\r\n");
    let began = Instant::now();
    first.node().console.request_stop(Stop::Orderly);
    until("the end of service", || std::net::TcpStream::connect(first.addresses().resp).is_err());
    assert!(!first.has_stopped());
    first.node().console.request_stop(Stop::Now);
    first.wait().unwrap();
    assert!(began.elapsed() < crate::peers::STOP_DRAIN_TIME, "{:?}", began.elapsed());
    drop(held);
    second.node().console.request_stop(Stop::Now);
    second.wait().unwrap();
}

#[test]
fn a_renewed_certificate_is_used_without_a_restart() {
    let home = tempfile::tempdir().unwrap();
    let made = found_cluster(home.path(), &[plan("us-east")], wall_clock()).unwrap();
    let running = launch(sources(&made.nodes[0]), &LaunchOptions::default()).unwrap();
    let until_seconds = || running.node().console.metrics.replication.certificate_valid_until_seconds.value();
    let before = until_seconds();
    assert!(before > i64::try_from(wall_clock() / 1000).unwrap());
    let authority = transport::Authority::read(&made.authority).unwrap();
    let current = NodeCredentials::read(&made.nodes[0]).unwrap();
    let now = i64::try_from(wall_clock() / 1000).unwrap();
    let renew = |from: i64, days: i64| {
        let validity = transport::Validity::days(from, days);
        authority.renew(&current, validity).unwrap().write(&made.nodes[0]).unwrap();
    };
    renew(now, 800);
    running.node().console.request_reload();
    until("the renewed certificate", || until_seconds() > before);
    // One that cannot be used, or whose time is over or has not come, leaves the old one in use.
    let renewed = until_seconds();
    let unusable: [&dyn Fn(); 3] = [
        &|| std::fs::write(made.nodes[0].join("node.pem"), "nothing").unwrap(),
        &|| renew(now - 3 * 86_400, 1),
        &|| renew(now + 2 * 86_400, 1000),
    ];
    for make in unusable {
        make();
        running.node().console.request_reload();
        until("service", || ask(running.addresses().resp, "PING\r\n", "\r\n") == "+PONG\r\n");
        assert_eq!(until_seconds(), renewed);
    }
    running.node().console.request_stop(Stop::Now);
    running.wait().unwrap();
}

/// A certificate for this machine that is its own authority, as text, and its key.
fn certificate() -> (String, String) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    (made.cert.pem(), made.signing_key.serialize_pem())
}

/// What a client that believes `authority` is answered over TLS of this version, or why there is no answer.
fn ask_over_tls(
    address: SocketAddr,
    authority: &str,
    own: Option<&(String, String)>,
    version: &'static rustls::SupportedProtocolVersion,
) -> Result<String, String> {
    use rustls::pki_types::pem::PemObject;
    let certificate = |text: &str| rustls::pki_types::CertificateDer::from_pem_slice(text.as_bytes()).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate(authority)).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_protocol_versions(&[version]).unwrap();
    let builder = builder.with_root_certificates(roots);
    let config = match own {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => {
            let key = rustls::pki_types::PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
            builder.with_client_auth_cert(vec![certificate(chain)], key).unwrap()
        }
    };
    let connection = rustls::ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap();
    let mut stream = rustls::StreamOwned::new(connection, TcpStream::connect(address).unwrap());
    let mut answer = [0; 7];
    stream.write_all(b"PING\r\n").and_then(|()| stream.read_exact(&mut answer)).map_err(|error| error.to_string())?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[test]
fn clients_come_over_tls_and_certificates_change_without_a_restart() {
    let home = tempfile::tempdir().unwrap();
    let made = found_cluster(home.path(), &[plan("us-east")], wall_clock()).unwrap();
    let (first, second, client) = (certificate(), certificate(), certificate());
    let path = |name: &str| home.path().join(name).display().to_string();
    let write = |(chain, key): &(String, String)| {
        std::fs::write(path("clients.key"), key).unwrap();
        std::fs::write(path("clients.pem"), chain).unwrap();
    };
    write(&first);
    std::fs::write(path("authority.pem"), &client.0).unwrap();
    let mut sources = sources(&made.nodes[0]);
    let mut sockets = Sockets::bind(&sources.clone().finish().unwrap().load()).unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    sockets.tls = Some(listener);
    let settings = [
        ("tls-port", address.port().to_string()),
        ("tls-cert-file", path("clients.pem")),
        ("tls-key-file", path("clients.key")),
        ("tls-auth-clients", "no".to_owned()),
    ];
    for (name, value) in settings {
        sources.argument(name, &value, "the test").unwrap();
    }
    let running = launch_on(sockets, sources, &LaunchOptions::default()).unwrap();
    let plain = running.addresses().resp;
    let pong = Ok("+PONG\r\n".to_owned());
    let asked = |authority: &(String, String), own| ask_over_tls(address, &authority.0, own, &rustls::version::TLS13);
    until("service over TLS", || asked(&first, None) == pong);
    assert_eq!(ask_over_tls(address, &first.0, None, &rustls::version::TLS12), pong);
    assert_eq!(ask(plain, "PING\r\n", "\r\n"), "+PONG\r\n");
    assert!(asked(&second, None).is_err(), "this certificate is not shown yet");
    write(&second);
    until("the new certificate", || asked(&second, None) == pong);
    std::fs::write(path("clients.pem"), "nonsense").unwrap();
    let refused = ask(plain, &format!("CONFIG SET tls-cert-file {}\r\n", path("clients.pem")), "\r\n");
    assert!(refused.contains("Unable to update TLS configuration"), "{refused}");
    assert_eq!(asked(&second, None), pong, "the one before goes on");
    write(&second);
    let wanted = format!("CONFIG SET tls-ca-cert-file {} tls-auth-clients yes\r\n", path("authority.pem"));
    assert_eq!(ask(plain, &wanted, "\r\n"), "+OK\r\n");
    assert!(asked(&second, None).is_err(), "a certificate is wanted");
    assert_eq!(asked(&second, Some(&client)), pong);
    assert!(asked(&second, Some(&first)).is_err(), "and one that is believed");
    running.node().console.request_stop(Stop::Now);
    running.wait().unwrap();
}

/// A certificate as above that is good from the first day of one year to that of another.
fn certificate_for(from: i32, until: i32) -> (String, String) {
    let mut wanted = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
    wanted.not_before = rcgen::date_time_ymd(from, 1, 1);
    wanted.not_after = rcgen::date_time_ymd(until, 1, 1);
    let key = rcgen::KeyPair::generate().unwrap();
    (wanted.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

#[test]
fn a_certificate_out_of_its_time_is_shown_to_clients_only_if_the_node_starts_with_it() {
    let home = tempfile::tempdir().unwrap();
    let made = found_cluster(home.path(), &[plan("us-east")], wall_clock()).unwrap();
    let (good, over, early) = (certificate(), certificate_for(2001, 2002), certificate_for(3001, 3002));
    let path = |name: &str| home.path().join(name).display().to_string();
    for (name, (chain, key)) in [("good", &good), ("over", &over), ("early", &early)] {
        std::fs::write(path(&format!("{name}.key")), key).unwrap();
        std::fs::write(path(&format!("{name}.pem")), chain).unwrap();
    }
    let mut sources = sources(&made.nodes[0]);
    let mut sockets = Sockets::bind(&sources.clone().finish().unwrap().load()).unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    sockets.tls = Some(listener);
    let settings = [
        ("tls-port", address.port().to_string()),
        ("tls-cert-file", path("over.pem")),
        ("tls-key-file", path("over.key")),
        ("tls-auth-clients", "no".to_owned()),
    ];
    for (name, value) in settings {
        sources.argument(name, &value, "the test").unwrap();
    }
    let running = launch_on(sockets, sources, &LaunchOptions::default()).unwrap();
    let plain = running.addresses().resp;
    until("service", || ask(plain, "PING\r\n", "\r\n") == "+PONG\r\n");
    let set = |line: String| ask(plain, &format!("CONFIG SET {line}\r\n"), "\r\n");
    let files = |name: &str| {
        format!("tls-cert-file {} tls-key-file {}", path(&format!("{name}.pem")), path(&format!("{name}.key")))
    };
    assert_eq!(set("tls-protocols TLSv1.3".to_owned()), "+OK\r\n", "all else can be set");
    let asked = || ask_over_tls(address, &good.0, None, &rustls::version::TLS13);
    assert!(asked().is_err());
    assert_eq!(set(files("good")), "+OK\r\n");
    let pong = Ok("+PONG\r\n".to_owned());
    assert_eq!(asked(), pong);
    for (name, reason) in [("over", "has expired"), ("early", "is not valid yet")] {
        let refused = set(files(name));
        assert!(refused.starts_with("-ERR CONFIG SET failed (possibly related to argument 'tls-"), "{refused}");
        assert!(refused.contains(reason), "{refused}");
        assert_eq!(asked(), pong, "the one before goes on");
    }
    assert_eq!(set("tls-port 0".to_owned()), "+OK\r\n");
    running.node().console.request_stop(Stop::Now);
    running.wait().unwrap();
}

#[test]
fn the_door_over_tls_is_opened_moved_and_closed_while_the_node_runs() {
    let home = tempfile::tempdir().unwrap();
    let made = found_cluster(home.path(), &[plan("us-east")], wall_clock()).unwrap();
    let shown = certificate();
    let path = |name: &str| home.path().join(name).display().to_string();
    std::fs::write(path("clients.key"), &shown.1).unwrap();
    std::fs::write(path("clients.pem"), &shown.0).unwrap();
    let running = launch(sources(&made.nodes[0]), &LaunchOptions::default()).unwrap();
    let plain = running.addresses().resp;
    let free = || std::net::TcpListener::bind((plain.ip(), 0)).unwrap().local_addr().unwrap();
    let set = |line: String| ask(plain, &format!("CONFIG SET {line}\r\n"), "\r\n");
    let asked = |address| ask_over_tls(address, &shown.0, None, &rustls::version::TLS13);
    let pong = Ok("+PONG\r\n".to_owned());
    until("service", || ask(plain, "PING\r\n", "\r\n") == "+PONG\r\n");
    let (first, second) = (free(), free());
    let files =
        format!("tls-cert-file {} tls-key-file {} tls-auth-clients no", path("clients.pem"), path("clients.key"));
    assert_eq!(set(format!("tls-port {} {files}", first.port())), "+OK\r\n");
    assert_eq!(asked(first), pong);
    let refused = set(format!("tls-port {}", plain.port()));
    assert!(refused.contains("'tls-port') - Unable to listen on this port. Check server logs."), "{refused}");
    assert_eq!(asked(first), pong, "the one before goes on");
    assert_eq!(set(format!("tls-port {}", second.port())), "+OK\r\n");
    assert_eq!(asked(second), pong);
    until("the end of the first", || TcpStream::connect(first).is_err());
    assert_eq!(set("tls-port 0".to_owned()), "+OK\r\n");
    until("the end of the second", || TcpStream::connect(second).is_err());
    assert_eq!(set("tls-port 0".to_owned()), "+OK\r\n");
    running.node().console.request_stop(Stop::Now);
    running.wait().unwrap();
}

#[test]
fn users_survive_a_restart_in_the_nodes_own_file() {
    let home = tempfile::tempdir().unwrap();
    let made = found_cluster(home.path(), &[plan("us-east")], wall_clock()).unwrap();
    for life in 1..=2 {
        let running = launch(sources(&made.nodes[0]), &LaunchOptions::default()).unwrap();
        let resp = running.addresses().resp;
        until("service", || ask(resp, "PING\r\n", "\r\n") == "+PONG\r\n");
        if life == 1 {
            assert_eq!(ask(resp, "ACL SETUSER alice on >secret +@all ~*\r\n", "\r\n"), "+OK\r\n");
        }
        assert_eq!(ask(resp, "AUTH alice secret\r\n", "\r\n"), "+OK\r\n", "life {life}");
        running.node().console.request_stop(Stop::Now);
        running.wait().unwrap();
    }
}

#[test]
fn users_of_the_settings_are_there_and_changes_can_be_written_back() {
    let home = tempfile::tempdir().unwrap();
    let made = found_cluster(home.path(), &[plan("us-east")], wall_clock()).unwrap();
    let file = made.nodes[0].join(CONFIGURATION_FILE);
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{text}user = [\"alice on >secret +@all ~a,b\", \"user bob off\"]\n")).unwrap();
    for life in 1..=2 {
        let running = launch(sources(&made.nodes[0]), &LaunchOptions::default()).unwrap();
        let resp = running.addresses().resp;
        until("service", || ask(resp, "PING\r\n", "\r\n") == "+PONG\r\n");
        assert_eq!(ask(resp, "AUTH alice secret\r\n", "\r\n"), "+OK\r\n", "life {life}");
        if life == 1 {
            assert_eq!(ask(resp, "ACL SETUSER bob on >other\r\n", "\r\n"), "+OK\r\n");
            assert_eq!(ask(resp, "CONFIG REWRITE\r\n", "\r\n"), "+OK\r\n");
        }
        assert_eq!(ask(resp, "AUTH bob other\r\n", "\r\n"), "+OK\r\n", "life {life}");
        running.node().console.request_stop(Stop::Now);
        running.wait().unwrap();
    }
}
