//! A setting as the table knows it.

use super::kind::Kind;

/// A setting: where it stands, what it must be, what it is if nobody says, what is done with it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Key {
    /// The section, case as Medusa has it.
    pub(super) section: &'static str,
    /// The key, in lower case.
    pub(super) name: &'static str,
    /// What its text must be.
    pub(super) kind: Kind,
    /// Its text if nobody says; none leaves it unset.
    pub(super) default: Option<&'static str>,
    /// What medusafs does with it.
    pub(super) role: Role,
    /// Variables of the environment that override it, the weaker one first.
    pub(super) variables: &'static [&'static str],
    /// The variable of the environment that is its default.
    pub(super) default_variable: Option<&'static str>,
    /// Whether an empty text leaves it unset.
    pub(super) may_be_empty: bool,
}

/// What medusafs does with a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Means to medusafs what it means to Medusa: a wrong value is an error.
    Used,
    /// Has no effect, for this reason: a wrong value is a warning.
    Ignored(&'static str),
    /// Will mean what it means to Medusa, or what medusafs's own text says, and has no effect yet,
    /// for this reason: a wrong value is an error.
    Later(&'static str),
    /// Only this value can be had so far, for this reason; any other is refused by name.
    Only(&'static str, &'static str),
}

impl Key {
    const fn new(
        section: &'static str,
        name: &'static str,
        kind: Kind,
        default: Option<&'static str>,
        role: Role,
    ) -> Self {
        let (variables, default_variable, may_be_empty): (&[&str], _, _) = (&[], None, false);
        Self { section, name, kind, default, role, variables, default_variable, may_be_empty }
    }

    /// A setting that medusafs uses.
    pub(super) const fn used(
        section: &'static str,
        name: &'static str,
        kind: Kind,
        default: Option<&'static str>,
    ) -> Self {
        Self::new(section, name, kind, default, Role::Used)
    }

    /// A setting that has no effect here.
    pub(super) const fn ignored(
        section: &'static str,
        name: &'static str,
        kind: Kind,
        default: Option<&'static str>,
        reason: &'static str,
    ) -> Self {
        Self::new(section, name, kind, default, Role::Ignored(reason))
    }

    /// A setting that has no effect yet.
    pub(super) const fn later(
        section: &'static str,
        name: &'static str,
        kind: Kind,
        default: Option<&'static str>,
        reason: &'static str,
    ) -> Self {
        Self::new(section, name, kind, default, Role::Later(reason))
    }

    /// A setting of which one value can be had.
    pub(super) const fn only(
        section: &'static str,
        name: &'static str,
        kind: Kind,
        default: Option<&'static str>,
        value: &'static str,
        reason: &'static str,
    ) -> Self {
        Self::new(section, name, kind, default, Role::Only(value, reason))
    }

    /// The same, overridden by variables of the environment, the weaker one first.
    pub(super) const fn or_variables(mut self, variables: &'static [&'static str]) -> Self {
        self.variables = variables;
        self
    }

    /// The same, with a variable of the environment for its default.
    pub(super) const fn else_variable(mut self, variable: &'static str) -> Self {
        self.default_variable = Some(variable);
        self
    }

    /// The same, unset if its text is empty.
    pub(super) const fn or_empty(mut self) -> Self {
        self.may_be_empty = true;
        self
    }
}
