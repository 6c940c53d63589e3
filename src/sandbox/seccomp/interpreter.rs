//! A classic BPF interpreter as the kernel's seccomp_check_filter and bpf_check_classic allow it,
//! strict where they are: tests judge filters by what they answer.

/// struct seccomp_data.
#[derive(Clone, Copy, Debug, Default)]
pub struct Call {
    pub number: u32,
    pub architecture: u32,
    pub arguments: [u64; 6],
}

impl Call {
    /// The 32-bit word at `offset` of struct seccomp_data, on a little-endian machine.
    fn word(&self, offset: u32) -> u32 {
        let half = |value: u64, high: bool| if high { (value >> 32) as u32 } else { value as u32 };
        match offset {
            0 => self.number,
            4 => self.architecture,
            // The instruction pointer: no filter has business with it.
            8 | 12 => panic!("the filter reads the instruction pointer"),
            16..64 if offset.is_multiple_of(4) => {
                half(self.arguments[(offset as usize - 16) / 8], !offset.is_multiple_of(8))
            }
            _ => panic!("load at offset {offset}"),
        }
    }
}

#[derive(Clone, Copy)]
struct Instruction {
    code: u16,
    jump_true: u8,
    jump_false: u8,
    operand: u32,
}

fn decode(program: &[u8]) -> Vec<Instruction> {
    assert!(program.len().is_multiple_of(8));
    let decode = |bytes: &[u8]| Instruction {
        code: u16::from_ne_bytes([bytes[0], bytes[1]]),
        jump_true: bytes[2],
        jump_false: bytes[3],
        operand: u32::from_ne_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
    };
    program.chunks_exact(8).map(decode).collect()
}

/// Every instruction is a known one, every jump goes forward and lands inside.
pub fn check(program: &[u8]) {
    let instructions = decode(program);
    let length = instructions.len();
    assert!((1..=4096).contains(&length));
    for (at, instruction) in instructions.iter().enumerate() {
        let targets = match instruction.code {
            0x05 => vec![at + 1 + instruction.operand as usize],
            0x15 | 0x25 | 0x35 | 0x45 => {
                vec![at + 1 + usize::from(instruction.jump_true), at + 1 + usize::from(instruction.jump_false)]
            }
            0x06 => vec![],
            0x20 | 0x54 => vec![at + 1],
            other => panic!("instruction {at}: opcode {other:#x}"),
        };
        assert!(targets.iter().all(|target| *target < length), "instruction {at} jumps out of {length}: {targets:?}");
    }
}

/// The filter's answer to a call (SECCOMP_RET_*).
pub fn run(program: &[u8], call: &Call) -> u32 {
    let instructions = decode(program);
    let (mut at, mut accumulator) = (0, 0);
    loop {
        let Instruction { code, jump_true, jump_false, operand } = instructions[at];
        at += 1;
        let branch = |taken: bool| usize::from(if taken { jump_true } else { jump_false });
        match code {
            0x06 => return operand,
            0x05 => at += operand as usize,
            0x20 => accumulator = call.word(operand),
            0x54 => accumulator &= operand,
            0x15 => at += branch(accumulator == operand),
            0x25 => at += branch(accumulator > operand),
            0x35 => at += branch(accumulator >= operand),
            0x45 => at += branch(accumulator & operand != 0),
            other => panic!("opcode {other:#x}"),
        }
    }
}
