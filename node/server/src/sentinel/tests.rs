use super::*;

const BEGIN: UnixMillis = 1_700_000_000_000;

fn member(node: &str, region: &str, round_trip_ms: Option<u64>) -> MemberStatus {
    MemberStatus {
        node: node.to_owned(),
        region: region.to_owned(),
        resp: format!("{node}.example:6379"),
        advertise: "10.0.0.9:7379".to_owned(),
        link: LinkState::Up,
        round_trip_ms,
        ..MemberStatus::default()
    }
}

fn cluster() -> ClusterStatus {
    ClusterStatus {
        node: "us-1".to_owned(),
        region: "us".to_owned(),
        members: vec![
            member("asia-1", "asia", Some(180)),
            member("eu-1", "eu", Some(80)),
            member("eu-2", "eu", Some(90)),
            member("us-1", "us", None),
        ],
        ..ClusterStatus::default()
    }
}

/// A node's view that changes.
struct Scene {
    sentinel: Sentinel,
    status: ClusterStatus,
    own_is_healthy: bool,
    preference: Vec<&'static str>,
    now: UnixMillis,
}

impl Scene {
    fn new() -> Self {
        let scene = Self {
            sentinel: Sentinel::default(),
            status: cluster(),
            own_is_healthy: true,
            preference: vec![],
            now: BEGIN,
        };
        assert_eq!(scene.look(), []);
        scene
    }

    fn look(&self) -> Vec<Switch> {
        self.sentinel.observe(&View {
            status: &self.status,
            own_is_healthy: self.own_is_healthy,
            master_name: "mymaster",
            preference: self.preference.clone(),
            now: self.now,
        })
    }

    fn set(&mut self, node: &str, state: MemberState, link: LinkState) {
        let member = self.status.members.iter_mut().find(|member| member.node == node).unwrap();
        (member.state, member.link) = (state, link);
    }

    fn lose(&mut self, node: &str) {
        self.set(node, MemberState::Unreachable, LinkState::Down);
    }

    fn find(&mut self, node: &str) {
        self.set(node, MemberState::Active, LinkState::Up);
    }

    fn place(&self, name: &str) -> String {
        self.sentinel.place(name).unwrap().node
    }
}

#[test]
fn each_name_stands_for_the_nearest_node_of_its_region() {
    let scene = Scene::new();
    for (name, node) in [("mymaster", "us-1"), ("us", "us-1"), ("eu", "eu-1"), ("asia", "asia-1")] {
        assert_eq!(scene.place(name), node, "{name}");
    }
    assert_eq!(scene.sentinel.place("nowhere"), None);
    assert_eq!(scene.sentinel.others().len(), 3);
}

#[test]
fn clients_of_a_region_that_fails_are_sent_to_the_nearest_and_back_when_it_is_steady_again() {
    let mut scene = Scene::new();
    scene.lose("eu-1");
    assert_eq!(scene.look().len(), 1);
    assert_eq!(scene.place("eu"), "eu-2");
    scene.lose("eu-2");
    let switches = scene.look();
    let port = |host: &str| Address { host: host.to_owned(), port: 6379 };
    let expected =
        Switch { name: "eu".to_owned(), from: port("eu-2.example"), to: port("us-1.example"), leaves: false };
    assert_eq!(switches, [expected]);
    scene.find("eu-1");
    scene.now += STEADY_MS / 2;
    assert_eq!(scene.look(), []);
    scene.now += STEADY_MS - 1;
    assert_eq!(scene.look(), []);
    scene.now += 1;
    let switches = scene.look();
    assert!(switches.len() == 1 && switches[0].leaves, "{switches:?}");
    assert_eq!((scene.place("eu"), scene.sentinel.place("eu").unwrap().switches), ("eu-1".to_owned(), 3));
}

#[test]
fn a_node_that_does_not_serve_sends_its_own_clients_elsewhere_as_its_operator_prefers() {
    let mut scene = Scene::new();
    scene.own_is_healthy = false;
    assert_eq!(scene.look().len(), 2);
    assert_eq!(scene.place("mymaster"), "eu-1");
    let mut scene = Scene::new();
    (scene.own_is_healthy, scene.preference) = (false, vec!["asia", "eu"]);
    scene.look();
    assert_eq!(scene.place("mymaster"), "asia-1");
}

#[test]
fn if_nobody_is_healthy_clients_are_sent_where_they_were_and_told_so() {
    let mut scene = Scene::new();
    scene.own_is_healthy = false;
    ["asia-1", "eu-1", "eu-2"].iter().for_each(|node| scene.lose(node));
    assert_eq!(scene.look(), []);
    let place = scene.sentinel.place("mymaster").unwrap();
    assert!(place.is_own && !place.is_healthy);
    // The first that is healthy again is good at once.
    scene.find("asia-1");
    scene.look();
    assert_eq!(scene.place("mymaster"), "asia-1");
}

#[test]
fn a_node_that_starts_and_finds_the_others_has_switched_nothing() {
    let mut scene = Scene {
        sentinel: Sentinel::default(),
        status: cluster(),
        own_is_healthy: false,
        preference: vec![],
        now: BEGIN,
    };
    ["asia-1", "eu-1", "eu-2"].iter().for_each(|node| scene.lose(node));
    assert_eq!(scene.look(), []);
    // The first link is there before this node serves, and the others come one by one.
    scene.find("asia-1");
    assert_eq!(scene.look(), []);
    scene.own_is_healthy = true;
    assert_eq!(scene.look(), []);
    // Of a name that was asked for by then it is told, since whoever asked was sent elsewhere.
    assert_eq!(scene.place("eu"), "us-1");
    ["eu-1", "eu-2"].iter().for_each(|node| scene.find(node));
    let switches = scene.look();
    assert!(switches.len() == 1 && switches[0].name == "eu" && switches[0].leaves, "{switches:?}");
    // What fails later is told, whether anybody has asked or not.
    scene.lose("asia-1");
    assert_eq!(scene.look().iter().map(|switch| &*switch.name).collect::<Vec<_>>(), ["asia"]);
}

#[test]
fn joining_greeting_and_removed_members_are_no_places() {
    let mut scene = Scene::new();
    scene.set("eu-1", MemberState::Joining, LinkState::Up);
    scene.set("eu-2", MemberState::Unreachable, LinkState::Greeting);
    scene.look();
    assert_eq!(scene.place("eu"), "us-1");
    scene.set("asia-1", MemberState::Removed, LinkState::Down);
    scene.look();
    assert_eq!(scene.sentinel.place("asia"), None);
}

#[test]
fn who_asks_is_remembered_only_while_this_node_serves_clients_of_another_region() {
    let mut scene = Scene::new();
    let address = IpAddr::from([10, 1, 2, 3]);
    scene.sentinel.note_visitor(address, BEGIN);
    assert!(scene.sentinel.take_visitors().is_empty());
    scene.lose("eu-1");
    scene.lose("eu-2");
    scene.look();
    scene.sentinel.note_visitor(address, BEGIN + 5);
    scene.sentinel.note_visitor(address, BEGIN + 9);
    assert_eq!(scene.sentinel.take_visitors(), BTreeMap::from([(address, BEGIN + 5)]));
    for last in 0..=u32::try_from(SENTINEL_VISITORS_MAX).unwrap() {
        scene.sentinel.note_visitor(IpAddr::from(last.to_be_bytes()), BEGIN);
    }
    assert_eq!(scene.sentinel.take_visitors().len(), SENTINEL_VISITORS_MAX);
}

#[test]
fn a_node_that_listens_everywhere_is_reached_where_its_peers_reach_it() {
    let mut anywhere = member("eu-1", "eu", None);
    for (resp, host, port) in [
        ("0.0.0.0:6380", "10.0.0.9", 6380),
        ("[::]:6380", "10.0.0.9", 6380),
        ("[fd00::1]:6380", "fd00::1", 6380),
        ("cache.example:1", "cache.example", 1),
        ("cache.example", "cache.example", 0),
    ] {
        anywhere.resp = resp.to_owned();
        assert_eq!(address_of(&anywhere), Address { host: host.to_owned(), port }, "{resp}");
    }
}
