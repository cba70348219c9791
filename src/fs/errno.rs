//! The one place where an error becomes an errno. No wildcard arm: a new variant must choose.

use nix::errno::Errno;

use crate::catalog::CatalogError;
use crate::store::Kind;

use super::FsError;

impl FsError {
    /// What the calling program is told.
    pub fn errno(&self) -> Errno {
        match self {
            Self::NotFound => Errno::ENOENT,
            Self::NotADirectory => Errno::ENOTDIR,
            Self::IsADirectory => Errno::EISDIR,
            Self::NotEmpty => Errno::ENOTEMPTY,
            Self::NameTooLong => Errno::ENAMETOOLONG,
            Self::ReadOnly(_) => Errno::EROFS,
            // Never EXDEV for a rename: `mv` would copy and then remove the sources.
            Self::NotPermitted(_) => Errno::EPERM,
            Self::Denied(_) => Errno::EACCES,
            Self::Invalid(_) | Self::Name(_) => Errno::EINVAL,
            Self::Exists(_) => Errno::EEXIST,
            Self::Busy(_) => Errno::EBUSY,
            Self::Stale(_) => Errno::ESTALE,
            // ENFILE: it is the mount's limit, not the calling process's.
            Self::TooManyOpen(_) => Errno::ENFILE,
            Self::NoSpace(_) => Errno::ENOSPC,
            // Never ENOSYS: the kernel remembers it for the whole connection.
            Self::Unsupported(_) => Errno::EOPNOTSUPP,
            Self::Share(error) => of_share(error.kind),
            Self::HostSilent(_) => Errno::ETIMEDOUT,
            Self::Catalog(error) => of_catalog(error),
            // Tools know EIO; EBADMSG would be truer and understood by nobody.
            Self::Damaged(_) => Errno::EIO,
            // So that `cp` goes on, and exits 1.
            Self::WrongCopy(_) => Errno::EIO,
            Self::EndedOtherwise(_) => Errno::EIO,
            // `cat` goes on silently, and ^C gets through.
            Self::NoNews => Errno::EINTR,
            // The tree lists it, so that ENOENT would make `cp` say that the listing lied.
            Self::Failed { .. } => Errno::EIO,
            Self::Bug(_) => Errno::EIO,
        }
    }

    /// Whether a person wants to read about it in `last_error`, and the log to hold it.
    pub fn is_news(&self) -> bool {
        !matches!(self, Self::NotFound | Self::NotADirectory | Self::IsADirectory | Self::NoNews)
    }
}

fn of_share(kind: Kind) -> Errno {
    match kind {
        // The tree lists it, so that ENOENT would make `cp` say that the listing lied.
        Kind::NotFound => Errno::EIO,
        Kind::Denied => Errno::EACCES,
        Kind::ReadOnly => Errno::EROFS,
        Kind::Full => Errno::ENOSPC,
        Kind::Exhausted => Errno::ENFILE,
        Kind::Unavailable | Kind::TimedOut | Kind::Overloaded => Errno::ETIMEDOUT,
        Kind::Exists
        | Kind::NotEmpty
        | Kind::WrongKind
        | Kind::Outside
        | Kind::TooLarge
        | Kind::Unsupported
        | Kind::Failed => Errno::EIO,
    }
}

fn of_catalog(error: &CatalogError) -> Errno {
    match error {
        CatalogError::Store(error) => of_share(error.kind),
        CatalogError::NoBackup(_) | CatalogError::NoNode(..) => Errno::ENOENT,
        CatalogError::NoManifest(..)
        | CatalogError::Damaged(..)
        | CatalogError::Unreadable { .. }
        | CatalogError::Name(_) => Errno::EIO,
        CatalogError::TooManyFiles(..) => Errno::ENOMEM,
        CatalogError::Busy => Errno::ETIMEDOUT,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_error_is_enosys_or_exdev() {
        let errors = [
            FsError::NotFound,
            FsError::ReadOnly(String::new()),
            FsError::NotPermitted(String::new()),
            FsError::Unsupported(String::new()),
            FsError::Bug(String::new()),
        ];
        for error in errors {
            assert!(![Errno::ENOSYS, Errno::EXDEV].contains(&error.errno()), "{error}");
        }
    }
}
