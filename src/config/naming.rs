//! What a node's own `medusa.ini` says about that node's name.

use std::collections::BTreeMap;
use std::path::Path;

use crate::model::Fqdn;

use super::ConfigError;
use super::ini::IniFile;
use super::medusa_keys::MEDUSA_KEYS;
use super::of_medusa;
use super::resolver::Resolver;

/// What Medusa on a node goes by when it names that node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeNaming {
    /// The name, if it is set.
    pub fqdn: Option<Fqdn>,
    /// Else: whether the reverse look-up of the node's address counts, not the address itself.
    pub resolve_own_name: bool,
}

impl NodeNaming {
    /// Reads the node's own `medusa.ini`; without one, Medusa's defaults count. Every other key of
    /// the file may be wrong: it is looked at by nobody.
    ///
    /// # Errors
    ///
    /// A file that cannot be read or is not in Medusa's dialect, a name that is none.
    pub fn read(
        medusa_ini: &Path,
        environment: &BTreeMap<String, String>,
    ) -> Result<Self, ConfigError> {
        let file = IniFile::read(medusa_ini)?;
        let mut resolver = Resolver::new(environment);
        for key in
            MEDUSA_KEYS.iter().filter(|key| matches!(key.name, "fqdn" | "resolve_ip_addresses"))
        {
            resolver.settle_medusa(key, file.as_ref());
        }
        let fqdn = of_medusa::fqdn(&mut resolver);
        let (_, resolve_own_name) = of_medusa::resolving(&mut resolver);
        if resolver.problems.is_empty() {
            Ok(Self { fqdn, resolve_own_name })
        } else {
            Err(ConfigError::Wrong(resolver.problems))
        }
    }
}
