//! Directories that are made, refused and taken back.

use super::*;

const NOW: UnixMillis = 1_800_000_000_000;

fn plan(region: &str) -> NodePlan {
    NodePlan {
        region: region.to_owned(),
        node: None,
        resp: Address::new("127.0.0.1", 6379),
        peer: Address::new("127.0.0.1", 7379),
        advertise: None,
        http: None,
    }
}

fn is_newcomer(directory: &Path) -> bool {
    let (catalogue, _) = SledCatalogue::open(&directory.join(CATALOGUE_DIRECTORY)).unwrap();
    CatalogueRows::new(Arc::new(catalogue)).is_newcomer().unwrap()
}

fn membership(directory: &Path) -> Membership {
    let in_file = fs::read(directory.join(MEMBERSHIP_FILE)).unwrap();
    let (catalogue, aside) = SledCatalogue::open(&directory.join(CATALOGUE_DIRECTORY)).unwrap();
    assert_eq!(aside, None);
    let rows = CatalogueRows::new(Arc::new(catalogue));
    assert_eq!(rows.membership().unwrap().as_deref(), Some(&in_file[..]));
    let facts = NodeCredentials::read(directory).unwrap().facts().unwrap();
    assert_eq!(rows.node().unwrap().map(|node| node.identity), Some(facts.identity.0));
    Membership::decode(&in_file).unwrap()
}

#[test]
fn a_founded_cluster_has_all_its_nodes_as_members_with_numbers_of_their_own() {
    let home = tempfile::tempdir().unwrap();
    let made = found_cluster(home.path(), &[plan("us-east"), plan("eu-west"), plan("ap-south")], NOW).unwrap();
    assert_eq!(made.nodes, ["us-east-1", "eu-west-1", "ap-south-1"].map(|name| home.path().join(name)));
    assert!(made.nodes.iter().all(|node| !is_newcomer(node)), "they begin together");
    let views: Vec<Membership> = made.nodes.iter().map(|node| membership(node)).collect();
    assert!(views.iter().all(|view| view.stable_hash() == views[0].stable_hash()));
    let mut numbers: Vec<_> = views[0].view().active().flat_map(|member| member.numbers.clone()).collect();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), 3);
    let view = views[0].view();
    assert!(view.alarms().is_empty());
    assert!(view.active().all(|member| view.unspent_of(member.identity) > 200), "none has nearly all of the others");
}

#[test]
fn what_is_written_is_what_the_node_reads() {
    let home = tempfile::tempdir().unwrap();
    let plan = NodePlan {
        node: Some("blue".to_owned()),
        resp: Address::new("0.0.0.0", 6400),
        peer: Address::new("0.0.0.0", 7400),
        advertise: Some(Address::new("blue.example.org", 7401)),
        http: Some(Address::new("0.0.0.0", 8400)),
        ..plan("us-east")
    };
    let made = found_cluster(home.path(), std::slice::from_ref(&plan), NOW).unwrap();
    let mut sources = crate::config::Sources::new();
    sources.read_file(&made.nodes[0].join(CONFIGURATION_FILE)).unwrap();
    let settings = sources.finish().unwrap();
    let config = settings.load();
    assert_eq!((config.node.as_str(), config.region.as_str()), ("blue", "us-east"));
    assert_eq!((&config.resp, &config.peer), (&plan.resp, &plan.peer));
    assert_eq!((&config.advertise, &config.http), (&plan.advertise, &plan.http));
    assert_eq!(config.cluster_id, hexadecimal(&made.cluster.0));
    let record = plan.record().unwrap();
    assert_eq!((record.resp.as_str(), record.http.as_str()), ("blue.example.org:6400", "blue.example.org:8400"));
}

#[test]
fn nothing_is_written_over() {
    let home = tempfile::tempdir().unwrap();
    found_cluster(home.path(), &[plan("us-east")], NOW).unwrap();
    let key = fs::read(home.path().join("ca/authority.key")).unwrap();
    let again = found_cluster(home.path(), &[plan("eu-west")], NOW).unwrap_err().to_string();
    assert!(again.contains("ca exists already") && again.contains("region add"), "{again}");
    assert_eq!(fs::read(home.path().join("ca/authority.key")).unwrap(), key);
    assert!(!home.path().join("eu-west-1").exists());
    let taken = prepare_member(&home.path().join("ca"), &home.path().join("us-east-1"), &plan("eu-west"), NOW);
    assert!(matches!(taken, Err(SetupError::DirectoryExists(_))));
}

#[test]
fn a_failed_founding_leaves_nothing_behind() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("eu-west-1"), "a file is in the way").unwrap();
    assert!(found_cluster(home.path(), &[plan("us-east"), plan("eu-west")], NOW).is_err());
    let left: Vec<_> = fs::read_dir(home.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["eu-west-1"]);
}

#[test]
fn addresses_that_nobody_reaches_and_names_that_are_there_twice_are_refused() {
    let home = tempfile::tempdir().unwrap();
    let anywhere = NodePlan { peer: Address::new("0.0.0.0", 7379), ..plan("us-east") };
    let error = found_cluster(home.path(), &[anywhere], NOW).unwrap_err().to_string();
    assert_eq!(
        error,
        "other nodes cannot connect to 0.0.0.0:7379; say with --advertise under which address they reach this node"
    );
    let twice = found_cluster(home.path(), &[plan("us-east"), plan("us-east")], NOW);
    assert!(matches!(twice, Err(SetupError::NameTwice(_))));
    let unnamed = NodePlan { node: Some("a b".to_owned()), ..plan("us-east") };
    assert!(matches!(found_cluster(home.path(), &[unnamed], NOW), Err(SetupError::Record(_))));
}

#[test]
fn a_prepared_member_is_kept_only_with_its_admission() {
    let home = tempfile::tempdir().unwrap();
    let ca = found_cluster(home.path(), &[plan("us-east")], NOW).unwrap().authority;
    let out = home.path().join("eu-west-1");
    drop(prepare_member(&ca, &out, &plan("eu-west"), NOW).unwrap());
    assert!(!out.exists());

    let prepared = prepare_member(&ca, &out, &plan("eu-west"), NOW).unwrap();
    let mut cluster = membership(&home.path().join("us-east-1"));
    let founder = cluster.view().active().next().unwrap().identity;
    let unchanged = cluster.encode();
    let newcomer = prepared.identity;
    let stamp = cluster.latest_stamp().next(NOW, NodeNumber::new(0).unwrap());
    cluster.admit(founder, newcomer, prepared.record.clone(), stamp).unwrap();
    prepared.admitted(&cluster.encode()).unwrap();
    assert_eq!(membership(&out).stable_hash(), cluster.stable_hash());
    assert!(is_newcomer(&out), "it comes to a cluster that was there before");

    let other = home.path().join("ap-south-1");
    let prepared = prepare_member(&ca, &other, &plan("ap-south"), NOW).unwrap();
    assert!(matches!(prepared.admitted(&unchanged), Err(SetupError::NotAdmitted(_))));
    assert!(other.join("node.key").exists(), "the key of a node that may be a member is never removed");
}

#[test]
fn others_are_told_of_the_door_that_clients_find_open() {
    let mut config = Config { node: "a".into(), region: "r".into(), ..Config::default() };
    config.resp = Address::new("0.0.0.0", 7000);
    config.advertise = Some(Address::new("db.example.org", 7100));
    let told = |config: &Config| own_record(config).resp;
    assert_eq!(told(&config), "db.example.org:7000");
    config.tls_port = 7001;
    assert_eq!(told(&config), "db.example.org:7000");
    config.resp_plain = false;
    assert_eq!(told(&config), "db.example.org:7001");
    config.resp = Address::new("10.0.0.1", 7000);
    assert_eq!(told(&config), "10.0.0.1:7001");
}
