//! The data folder: it and its files are readable by their owner only.

use std::{
    fs::{self, DirBuilder, File, Permissions},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::Path,
};

/// The beginnings of the names of this program's files.
const OWN_FILES: [&str; 3] = ["flash-sale.db", "auth_secret", "redis-"];

/// Creates the folder with mode 0700. An existing one gets this mode if it holds only files of this
/// program; another one may have to stay open for others, so that it only causes a warning.
pub fn open(folder: &Path) -> io::Result<()> {
    create(folder)?;
    if is_private(&fs::metadata(folder)?) {
        return Ok(());
    }
    let is_closed =
        is_own(folder)? && fs::set_permissions(folder, Permissions::from_mode(0o700)).is_ok();
    if !is_closed {
        let shown = folder.display();
        tracing::warn!("DATA_DIR: other users can enter {shown}; its files are private");
    }
    Ok(())
}

/// A folder inside the data folder, with mode 0700.
pub(super) fn open_inner(folder: &Path) -> io::Result<()> {
    create(folder)?;
    fs::set_permissions(folder, Permissions::from_mode(0o700))
}

fn create(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

fn is_own(folder: &Path) -> io::Result<bool> {
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let name = name.to_string_lossy();
        if !OWN_FILES.iter().any(|own| name.starts_with(own)) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Makes the files of an existing embedded database private; former versions left them readable.
pub fn make_database_private(folder: &Path) -> io::Result<()> {
    for name in [
        "flash-sale.db",
        "flash-sale.db-wal",
        "flash-sale.db-shm",
        "flash-sale.db.migrating",
    ] {
        let path = folder.join(name);
        match fs::metadata(&path) {
            Ok(file) if is_private(&file) => {}
            Ok(_) => fs::set_permissions(&path, Permissions::from_mode(0o600))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Whether neither the group nor others have any right.
fn is_private(file: &fs::Metadata) -> bool {
    file.permissions().mode().trailing_zeros() >= 6
}

/// An empty file that only its owner can read.
pub(super) fn private_file(path: &Path) -> io::Result<File> {
    let file = File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    Ok(file)
}

/// Makes the file of a log private, and creates it if it is missing; its text stays.
pub(super) fn private_log(path: &Path) -> io::Result<()> {
    let file = File::options()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)?;
    file.set_permissions(Permissions::from_mode(0o600))
}
