//! The program against the rules one by one, and against bytes that are no program.

mod bytes;
mod given;
mod lookups;
mod oracle;
mod text;
