use super::*;

#[test]
fn what_is_under_way_is_bounded_and_given_back() {
    let migrations = Migrations::default();
    assert_eq!(migrations.hold(MIGRATING_BYTES_MAX), Ok(()));
    assert_eq!(migrations.hold(1), Err(MigrationError::TooMuch));
    assert_eq!(migrations.refused(), 1);
    drop(Load { migrations: &migrations, requests: vec![0; 1000], keys: Vec::new() });
    assert_eq!(migrations.hold(1000), Ok(()));
    assert_eq!(migrations.hold(1), Err(MigrationError::TooMuch));
}

#[test]
fn a_password_is_not_in_what_is_logged() {
    let credentials = Credentials::new(Some(b"ann"), b"secret");
    assert_eq!(format!("{credentials:?}"), "Credentials(..)");
}
