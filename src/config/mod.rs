//! Settings: Medusa's own file as Medusa reads it, and medusafs's beside it.
