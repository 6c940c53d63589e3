//! What commands print: docker's tables, Go templates, humanised values, filters, and the gate
//! through which foreign text reaches a terminal.

pub mod document;
pub mod filter;
pub mod human;
pub mod json;
pub mod list;
pub mod quote;
pub mod table;
pub mod template;
pub mod text;
