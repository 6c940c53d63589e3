//! Archives written byte by byte, so that they can be wrong.

use std::io::Write;

/// A tar under construction.
#[derive(Clone, Default)]
pub struct Archive {
    pub bytes: Vec<u8>,
}

/// The fields of one ustar header.
#[derive(Clone)]
pub struct Header<'a> {
    pub name: &'a [u8],
    pub kind: u8,
    pub mode: u32,
    pub owner: (u32, u32),
    pub size: u64,
    pub mtime: u64,
    pub target: &'a [u8],
}

impl Default for Header<'_> {
    fn default() -> Self {
        Self { name: b"", kind: b'0', mode: 0o644, owner: (0, 0), size: 0, mtime: 1_000_000_000, target: b"" }
    }
}

impl Header<'_> {
    pub fn block(&self) -> [u8; 512] {
        let mut block = [0; 512];
        block[..self.name.len()].copy_from_slice(self.name);
        octal(&mut block[100..108], self.mode.into());
        octal(&mut block[108..116], self.owner.0.into());
        octal(&mut block[116..124], self.owner.1.into());
        octal(&mut block[124..136], self.size);
        octal(&mut block[136..148], self.mtime);
        block[156] = self.kind;
        block[157..157 + self.target.len()].copy_from_slice(self.target);
        block[257..265].copy_from_slice(b"ustar\x0000");
        seal(&mut block);
        block
    }
}

pub fn octal(field: &mut [u8], value: u64) {
    let text = format!("{value:0width$o}", width = field.len() - 1);
    field[..text.len()].copy_from_slice(text.as_bytes());
}

/// Writes the checksum.
pub fn seal(block: &mut [u8; 512]) {
    block[148..156].fill(b' ');
    let sum: u64 = block.iter().map(|&byte| u64::from(byte)).sum();
    octal(&mut block[148..155], sum);
}

impl Archive {
    pub fn new() -> Self {
        Self::default()
    }

    /// Raw bytes, padded to a block.
    pub fn data(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend_from_slice(bytes);
        self.bytes.resize(self.bytes.len().next_multiple_of(512), 0);
        self
    }

    pub fn header(self, header: &Header<'_>) -> Self {
        self.data(&header.block())
    }

    /// A header of GNU magic changed by `edit` before it is sealed.
    pub fn edited(self, header: &Header<'_>, edit: impl FnOnce(&mut [u8; 512])) -> Self {
        let mut block = header.block();
        edit(&mut block);
        seal(&mut block);
        self.data(&block)
    }

    pub fn file(self, name: &str, content: &[u8]) -> Self {
        self.file_mode(name, 0o644, content)
    }

    pub fn file_mode(self, name: &str, mode: u32, content: &[u8]) -> Self {
        let size = content.len() as u64;
        self.header(&Header { name: name.as_bytes(), mode, size, ..Header::default() }).data(content)
    }

    pub fn directory(self, name: &str) -> Self {
        self.header(&Header { name: name.as_bytes(), kind: b'5', mode: 0o755, ..Header::default() })
    }

    pub fn symlink(self, name: &str, target: &str) -> Self {
        let (name, target) = (name.as_bytes(), target.as_bytes());
        self.header(&Header { name, kind: b'2', mode: 0o777, target, ..Header::default() })
    }

    pub fn hard_link(self, name: &str, target: &str) -> Self {
        let (name, target) = (name.as_bytes(), target.as_bytes());
        self.header(&Header { name, kind: b'1', target, ..Header::default() })
    }

    pub fn kind(self, name: &str, kind: u8) -> Self {
        self.header(&Header { name: name.as_bytes(), kind, ..Header::default() })
    }

    /// An extension header (`x`, `g`, `L`, `K`) with its data.
    pub fn extension(self, kind: u8, data: &[u8]) -> Self {
        let size = data.len() as u64;
        self.header(&Header { name: b"././@Extension", kind, size, ..Header::default() }).data(data)
    }

    /// PAX records for the next entry.
    pub fn pax(self, records: &[(&str, &[u8])]) -> Self {
        let data: Vec<u8> = records.iter().flat_map(|(key, value)| record(key, value)).collect();
        self.extension(b'x', &data)
    }

    /// The end of the archive.
    pub fn end(self) -> Vec<u8> {
        self.data(&[0; 1024]).bytes
    }
}

/// One PAX record with the right length.
pub fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let body = key.len() + value.len() + 3;
    let mut length = body;
    while length != body + length.to_string().len() {
        length = body + length.to_string().len();
    }
    [format!("{length} {key}=").as_bytes(), value, b"\n"].concat()
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
