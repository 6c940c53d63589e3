//! The little of an ELF file that decides whether the kernel can execute it (elf(5)).

/// The first bytes of a file say so.
pub const MAGIC: &[u8] = b"\x7fELF";
const PT_INTERP: u64 = 3;
/// More than any linker makes.
const HEADERS_MAX: u64 = 256;
/// PATH_MAX: the kernel takes no longer interpreter.
const INTERPRETER_MAX: usize = 4096;

/// What a program wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Elf {
    /// e_machine.
    pub machine: u16,
    /// 64 bits or 32.
    pub wide: bool,
    pub little_endian: bool,
    /// The dynamic loader.
    pub interpreter: Option<String>,
}

/// Reads a program through `read`, which gives so many bytes from an offset on, or None beyond the
/// end. None when it is no ELF file or cut off.
pub fn parse(read: &dyn Fn(u64, usize) -> Option<Vec<u8>>) -> Option<Elf> {
    let ident = read(0, 6)?;
    if !ident.starts_with(MAGIC) {
        return None;
    }
    let (wide, little_endian) = (ident[4] == 2, ident[5] == 1);
    let reader = Reader { read, little_endian };
    let (table, entry_size, count) = if wide {
        (reader.number(32, 8)?, reader.number(54, 2)?, reader.number(56, 2)?)
    } else {
        (reader.number(28, 4)?, reader.number(42, 2)?, reader.number(44, 2)?)
    };
    let interpreter = (0..count.min(HEADERS_MAX)).find_map(|index| {
        let header = table.checked_add(index * entry_size)?;
        if reader.number(header, 4)? != PT_INTERP {
            return None;
        }
        let (offset, length) = if wide {
            (reader.number(header.checked_add(8)?, 8)?, reader.number(header.checked_add(32)?, 8)?)
        } else {
            (reader.number(header.checked_add(4)?, 4)?, reader.number(header.checked_add(16)?, 4)?)
        };
        reader.string(offset, length)
    });
    Some(Elf { machine: u16::try_from(reader.number(18, 2)?).ok()?, wide, little_endian, interpreter })
}

struct Reader<'a> {
    read: &'a dyn Fn(u64, usize) -> Option<Vec<u8>>,
    little_endian: bool,
}

impl Reader<'_> {
    fn number(&self, offset: u64, length: usize) -> Option<u64> {
        let bytes = (self.read)(offset, length)?;
        let add = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
        Some(if self.little_endian { bytes.iter().rev().fold(0, add) } else { bytes.iter().fold(0, add) })
    }

    fn string(&self, offset: u64, length: u64) -> Option<String> {
        let bytes = (self.read)(offset, usize::try_from(length).ok()?.min(INTERPRETER_MAX))?;
        let text = bytes.split(|&byte| byte == 0).next()?;
        Some(String::from_utf8_lossy(text).into_owned())
    }
}

/// A machine's name, as `uname -m` and people call it.
pub fn machine_name(machine: u16) -> String {
    let name = match machine {
        3 => "i386",
        8 => "mips",
        20 => "ppc",
        21 => "ppc64",
        22 => "s390x",
        40 => "arm",
        62 => "x86_64",
        183 => "aarch64",
        243 => "riscv64",
        258 => "loongarch64",
        other => return format!("machine {other}"),
    };
    name.to_owned()
}

/// Whether this build's processor runs programs for `machine` by itself.
pub fn is_native(elf: &Elf) -> bool {
    let own = match std::env::consts::ARCH {
        "x86_64" => 62,
        "aarch64" => 183,
        "riscv64" => 243,
        "s390x" => 22,
        "powerpc64" => 21,
        "loongarch64" => 258,
        // Not known here: do not accuse the program.
        _ => return true,
    };
    elf.machine == own && elf.wide
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A 64-bit little-endian program with one program header, of its interpreter.
    fn program(machine: u16, interpreter: &str) -> Vec<u8> {
        let mut bytes = vec![0; 64 + 56];
        bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
        bytes[18..20].copy_from_slice(&machine.to_le_bytes());
        bytes[32] = 64;
        bytes[54] = 56;
        bytes[56] = 1;
        bytes[64] = 3;
        bytes[64 + 8] = 120;
        bytes[64 + 32] = u8::try_from(interpreter.len() + 1).unwrap();
        bytes.extend_from_slice(interpreter.as_bytes());
        bytes.push(0);
        bytes
    }

    fn parse_bytes(bytes: &[u8]) -> Option<Elf> {
        parse(&|offset, length| {
            let offset = usize::try_from(offset).ok()?;
            Some(bytes.get(offset..offset.checked_add(length)?)?.to_vec())
        })
    }

    #[test]
    fn machine_and_interpreter_are_read() {
        let elf = parse_bytes(&program(183, "/lib/ld-musl-aarch64.so.1")).unwrap();
        assert_eq!((elf.machine, elf.interpreter.as_deref()), (183, Some("/lib/ld-musl-aarch64.so.1")));
        assert!(elf.wide && elf.little_endian);
        assert_eq!(machine_name(183), "aarch64");
        let own = parse_bytes(&std::fs::read("/proc/self/exe").unwrap()).unwrap();
        assert!(is_native(&own));
    }

    #[test]
    fn cut_or_foreign_bytes_are_no_program() {
        let whole = program(62, "/x");
        for length in 0..whole.len() {
            // Whatever the length: no panic, and no interpreter that is not there.
            let cut = parse_bytes(&whole[..length]);
            assert!(cut.is_none_or(|elf| elf.interpreter.is_none_or(|text| "/x".starts_with(&text))), "{length}");
        }
        assert_eq!(parse_bytes(b"#!/bin/sh\n"), None);
        let mut absurd = program(62, "/x");
        absurd[32..40].copy_from_slice(&u64::MAX.to_le_bytes());
        assert_eq!(parse_bytes(&absurd).unwrap().interpreter, None);
    }
}
