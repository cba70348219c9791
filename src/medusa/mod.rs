//! Medusa's format: names, manifests, token maps, index. Pure functions over bytes and names.
