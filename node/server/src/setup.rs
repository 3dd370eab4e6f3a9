//! Directories: a new cluster's authority with its first nodes, and the directory of a node that is to be added.
//!
//! A directory that was made here is all that `launch` needs, and durable. Nothing that exists is ever written over, and
//! what a failed attempt made is removed again, so that it can simply be repeated.

#[cfg(test)]
mod tests;

use crate::config::{Address, Config};
use crate::doors::told_address;
use crate::files;
use crdt::membership::{MemberRecord, Membership, MembershipError};
use crdt::{NodeNumber, Stamp, UnixMillis};
use protocol::{ClusterId, NodeIdentity};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use storage::{CatalogueError, CatalogueRows, NodeFacts, SledCatalogue};
use transport::{Authority, AuthorityError, CertificateRequest, NodeCredentials, Random, Validity};

/// What is decided about a node before it exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodePlan {
    /// Its region.
    pub region: String,
    /// Its name; by default the region's with `-1`.
    pub node: Option<String>,
    /// Where its clients connect.
    pub resp: Address,
    /// Where other nodes connect.
    pub peer: Address,
    /// Where other nodes are told to connect, if that differs.
    pub advertise: Option<Address>,
    /// Where probes and scrapers connect, if anywhere.
    pub http: Option<Address>,
}

/// A cluster that was just founded.
#[derive(Clone, Debug)]
pub struct NewCluster {
    /// Its id.
    pub cluster: ClusterId,
    /// The directory of its authority. Its key lets nodes in: keep it away from the nodes.
    pub authority: PathBuf,
    /// The directories of its nodes.
    pub nodes: Vec<PathBuf>,
}

/// Why a directory was not made. Each is one sentence for the operator.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// There is an authority already.
    #[error(
        "{ca} exists already and is not written over; to add a node to that cluster use `pelago region add --ca {ca}`, to \
         found another choose another directory",
        ca = .0.display()
    )]
    AuthorityExists(PathBuf),
    /// There is something in the node's directory.
    #[error("{} exists already and is not written over; choose another directory, or move it away", .0.display())]
    DirectoryExists(PathBuf),
    /// Two nodes of one name.
    #[error("two nodes would have the name {0}; give one of them another name with --node")]
    NameTwice(String),
    /// Other nodes would be told an address that nobody can reach.
    #[error("other nodes cannot connect to {0}; say with --advertise under which address they reach this node")]
    NotReachable(Address),
    /// The name or an address is out of bounds.
    #[error("{0}")]
    Record(#[from] crdt::membership::RecordError),
    /// The authority or a certificate.
    #[error("{0}")]
    Authority(#[from] AuthorityError),
    /// Certificates on disk.
    #[error("{0}")]
    Credentials(#[from] transport::CredentialsError),
    /// The certificate that was just made cannot be read.
    #[error("{0}")]
    Identity(#[from] transport::IdentityError),
    /// The membership.
    #[error("the membership cannot be made: {0}")]
    Membership(#[from] MembershipError),
    /// The membership that a member sent does not have the node in it.
    #[error(
        "the member's answer does not have the new node {0} in it; both must run versions of Pelago that fit together"
    )]
    NotAdmitted(String),
    /// The catalogue.
    #[error("{0}")]
    Catalogue(#[from] CatalogueError),
    /// The file system refused.
    #[error("cannot {doing} {}: {error}", .path.display())]
    File {
        /// What was being done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

impl NodePlan {
    /// The node's name.
    pub fn name(&self) -> String {
        self.node.clone().unwrap_or_else(|| format!("{}-1", self.region))
    }

    /// What other nodes are to know of it.
    pub fn record(&self) -> Result<MemberRecord, SetupError> {
        let record =
            record_of(&self.name(), &self.region, &self.resp, &self.peer, self.advertise.as_ref(), self.http.as_ref());
        let told = self.advertise.as_ref().unwrap_or(&self.peer);
        if is_anywhere(told) {
            return Err(SetupError::NotReachable(told.clone()));
        }
        record.check()?;
        Ok(record)
    }

    /// The text of its `pelago.toml`.
    fn configuration(&self, cluster: ClusterId) -> String {
        let name = self.name();
        let mut text = format!(
            "# Node {name} of a Pelago cluster. Every setting and its default: docs/configuration.md\n\
             node = \"{name}\"\nregion = \"{}\"\ncluster-id = \"{}\"\n\n\
             # Where clients connect (TCP) and where other nodes connect (QUIC, so UDP).\nresp = \"{}\"\npeer = \"{}\"\n",
            self.region,
            hexadecimal(&cluster.0),
            self.resp,
            self.peer
        );
        if let Some(advertise) = &self.advertise {
            text.push_str(&format!("# The address that other nodes are told.\nadvertise = \"{advertise}\"\n"));
        }
        if let Some(http) = &self.http {
            text.push_str(&format!("# /livez, /readyz and /metrics.\nhttp = \"{http}\"\n"));
        }
        text
    }
}

/// What other nodes are to know of a node with this configuration.
pub(crate) fn own_record(config: &Config) -> MemberRecord {
    let (advertise, http) = (config.advertise.as_ref(), config.http.as_ref());
    record_of(&config.node, &config.region, &told_address(config), &config.peer, advertise, http)
}

/// What other nodes are to know of a node with these addresses. Where it listens everywhere, its clients are sent to
/// the host that other nodes use.
fn record_of(
    name: &str,
    region: &str,
    resp: &Address,
    peer: &Address,
    advertise: Option<&Address>,
    http: Option<&Address>,
) -> MemberRecord {
    let advertise = advertise.unwrap_or(peer);
    let told = |address: &Address| match is_anywhere(address) {
        true => Address::new(advertise.host(), address.port()).to_string(),
        false => address.to_string(),
    };
    MemberRecord {
        name: name.to_owned(),
        region: region.to_owned(),
        advertise: advertise.to_string(),
        resp: told(resp),
        http: http.map(told).unwrap_or_default(),
    }
}

/// Whether the address is good for listening only.
fn is_anywhere(address: &Address) -> bool {
    address.host().parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_unspecified())
}

/// Founds a cluster in `directory`: its authority in `ca`, and for each plan a directory of the node's name. The first
/// node founds it, the others are members from the beginning.
pub fn found_cluster(directory: &Path, plans: &[NodePlan], now: UnixMillis) -> Result<NewCluster, SetupError> {
    let ca = directory.join(AUTHORITY_DIRECTORY);
    if ca.exists() {
        return Err(SetupError::AuthorityExists(ca));
    }
    let nodes: Vec<PathBuf> = plans.iter().map(|plan| directory.join(plan.name())).collect();
    for (position, node) in nodes.iter().enumerate() {
        if nodes[..position].contains(node) {
            return Err(SetupError::NameTwice(plans[position].name()));
        }
        check_free(node)?;
    }
    let records = plans.iter().map(NodePlan::record).collect::<Result<Vec<_>, _>>()?;
    let mut made = Made::default();
    let mut id = [0; 16];
    Random::system().fill(&mut id);
    let cluster = ClusterId(id);
    let authority = Authority::create(cluster, Validity::of_authority(seconds(now)), None)?;
    made.directory(&ca)?;
    authority.write(&ca)?;
    let mut issued = Vec::with_capacity(plans.len());
    for (plan, node) in plans.iter().zip(&nodes) {
        issued.push(write_node(&mut made, &authority, plan, node, now)?);
    }
    let membership = founding_membership(&issued, records, now)?.encode();
    for ((plan, node), identity) in plans.iter().zip(&nodes).zip(issued) {
        write_membership(node, &membership, &facts_of(identity, cluster, plan), false)?;
    }
    made.keep();
    Ok(NewCluster { cluster, authority: ca, nodes })
}

/// A node whose directory is there, and that no member has admitted yet.
#[derive(Debug)]
pub struct PreparedMember {
    /// Who it is.
    pub identity: NodeIdentity,
    /// The cluster of the authority that its certificate is from.
    pub cluster: ClusterId,
    /// What the members are to know of it.
    pub record: MemberRecord,
    directory: PathBuf,
    facts: NodeFacts,
    made: Made,
}

/// Makes the key, the certificate and the configuration of a node that is to be added, in `directory`. Without
/// [`PreparedMember::admitted`] or [`PreparedMember::keep`] all of it is removed again.
pub fn prepare_member(
    authority: &Path,
    directory: &Path,
    plan: &NodePlan,
    now: UnixMillis,
) -> Result<PreparedMember, SetupError> {
    let record = plan.record()?;
    check_free(directory)?;
    let authority = Authority::read(authority)?;
    let mut made = Made::default();
    let identity = write_node(&mut made, &authority, plan, directory, now)?;
    let facts = facts_of(identity, authority.cluster(), plan);
    Ok(PreparedMember { identity, cluster: authority.cluster(), record, directory: directory.to_owned(), facts, made })
}

impl PreparedMember {
    /// Completes the directory with the membership that a member answered; then the node can be started.
    pub fn admitted(self, membership: &[u8]) -> Result<(), SetupError> {
        // The admission stands, whatever happens here: the key must not be lost now.
        let Self { record, directory, facts, made, .. } = self;
        made.keep();
        let decoded = Membership::decode(membership)?;
        if decoded.view().member(crdt::NodeIdentity(facts.identity)).is_none() {
            return Err(SetupError::NotAdmitted(record.name));
        }
        write_membership(&directory, membership, &facts, true)
    }

    /// Keeps the directory although it is not known whether the node was admitted.
    pub fn keep(self) {
        self.made.keep();
    }
}

/// Writes credentials and configuration of a node.
fn write_node(
    made: &mut Made,
    authority: &Authority,
    plan: &NodePlan,
    directory: &Path,
    now: UnixMillis,
) -> Result<NodeIdentity, SetupError> {
    let request = CertificateRequest { name: plan.name(), validity: Validity::of_node(seconds(now)), seed: None };
    let credentials: NodeCredentials = authority.issue(&request)?;
    made.directory(directory)?;
    credentials.write(directory)?;
    write_file(&directory.join(CONFIGURATION_FILE), plan.configuration(authority.cluster()).as_bytes())?;
    Ok(credentials.facts()?.identity)
}

fn founding_membership(
    identities: &[NodeIdentity],
    records: Vec<MemberRecord>,
    now: UnixMillis,
) -> Result<Membership, SetupError> {
    let mut members = identities.iter().copied().zip(records);
    let Some((founder, record)) = members.next() else { return Ok(Membership::new()) };
    let number = NodeNumber::new(0).expect("0 is a number of a node");
    let mut membership = Membership::found(founder, record, Stamp::at(now, number))?;
    for (newcomer, record) in members {
        let stamp = membership.latest_stamp().next(now, number);
        membership.admit(founder, newcomer, record, stamp)?;
    }
    // They begin together, so none of them is to have nearly all numbers.
    while let Some(due) = membership.view().range_due(UnixMillis::MAX, &|_| true) {
        let stamp = membership.latest_stamp().next(now, number);
        membership.grant_range(due.giver, due.receiver, due.length, stamp)?;
    }
    Ok(membership)
}

/// Writes the membership where the node looks for it: into its catalogue, and beside it for a node that loses it. Who comes
/// to a cluster that has data must not take itself for one that has none.
fn write_membership(
    directory: &Path,
    membership: &[u8],
    facts: &NodeFacts,
    is_newcomer: bool,
) -> Result<(), SetupError> {
    let (catalogue, _) = SledCatalogue::open(&directory.join(CATALOGUE_DIRECTORY))?;
    let rows = CatalogueRows::new(Arc::new(catalogue));
    rows.set_node(facts)?;
    rows.set_newcomer(is_newcomer)?;
    rows.set_membership(membership)?;
    write_file(&directory.join(MEMBERSHIP_FILE), membership)
}

fn facts_of(identity: NodeIdentity, cluster: ClusterId, plan: &NodePlan) -> NodeFacts {
    NodeFacts { identity: identity.0, cluster: cluster.0, name: plan.name(), region: plan.region.clone() }
}

/// Refuses a directory with something in it.
fn check_free(directory: &Path) -> Result<(), SetupError> {
    match fs::read_dir(directory) {
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => Err(SetupError::DirectoryExists(directory.to_owned())),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(SetupError::File { doing: "look into", path: directory.to_owned(), error }),
    }
}

fn write_file(path: &Path, bytes: &[u8]) -> Result<(), SetupError> {
    files::replace(path, bytes, files::COMMON_MODE).map_err(|error| SetupError::File {
        doing: "write",
        path: path.to_owned(),
        error,
    })
}

fn seconds(now: UnixMillis) -> i64 {
    i64::try_from(now / 1000).unwrap_or(i64::MAX)
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Directories that were made and go away again unless they are kept.
#[derive(Debug, Default)]
struct Made {
    directories: Vec<PathBuf>,
}

impl Made {
    fn directory(&mut self, path: &Path) -> Result<(), SetupError> {
        let failed = |error| SetupError::File { doing: "create", path: path.to_owned(), error };
        files::make_directory(path).map_err(failed)?;
        self.directories.push(path.to_owned());
        Ok(())
    }

    fn keep(mut self) {
        self.directories.clear();
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        for directory in &self.directories {
            if let Err(error) = fs::remove_dir_all(directory) {
                tracing::warn!(directory = %directory.display(), %error, "what was made in vain could not be removed");
            }
        }
    }
}

/// The authority's directory in that of a cluster.
const AUTHORITY_DIRECTORY: &str = "ca";
/// A node's settings in its directory.
pub const CONFIGURATION_FILE: &str = "pelago.toml";
/// The membership at the time of the admission, in a node's directory.
pub(crate) const MEMBERSHIP_FILE: &str = "membership";
/// What is kept of the disk for the catalogue, in a node's directory.
pub(crate) const RESERVE_FILE: &str = "reserve";
/// The catalogue in a node's directory.
pub(crate) const CATALOGUE_DIRECTORY: &str = "data";
