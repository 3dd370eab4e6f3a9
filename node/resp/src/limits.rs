//! What a client may make the parser hold or look at. All of them are Redis' own, so that clients meet no surprise.

/// Bytes of an inline request, or of the line that carries a count or a length. An honest line is far shorter; past it
/// the peer does not speak our protocol.
pub const INLINE_BYTES_MAX: usize = 64 * 1024;

/// Arguments one request may announce. It is the largest count Redis accepts; memory follows what arrives, never what
/// is announced.
pub const ARGUMENTS_MAX: i64 = i32::MAX as i64;

/// Arguments of a request before the client has authenticated: enough for `HELLO 3 AUTH user password SETNAME name`.
pub const UNAUTHENTICATED_ARGUMENTS_MAX: i64 = 10;

/// Bytes of one argument before the client has authenticated, so that strangers cannot fill the memory.
pub const UNAUTHENTICATED_BULK_BYTES_MAX: i64 = 16 * 1024;
