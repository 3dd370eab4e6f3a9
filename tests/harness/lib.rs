//! What the acceptance tests share: real processes, a small client, the reference server.
