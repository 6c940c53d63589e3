//! Flows by number, and the tokens under which epoll reports them. A number is used again, but
//! never with the same generation, so that a late event of a closed flow finds nothing.

/// What a descriptor belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Class {
    /// A socket opened at the start, numbered by its place in the network's own sockets.
    Fixed,
    /// A TCP connection.
    Tcp,
    /// A flow of datagrams.
    Udp,
    /// A stream of echo requests.
    Ping,
    /// A socket of a published port.
    Publication,
}

/// The side of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Face {
    /// The container's.
    Inner,
    /// The outside world's.
    Outer,
}

/// Names a flow: class, place and generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub class: Class,
    pub place: u32,
    generation: u32,
}

const GENERATIONS: u32 = (1 << 24) - 1;

impl Token {
    /// The token of one of the network's own sockets.
    pub fn fixed(place: u32) -> Self {
        Self { class: Class::Fixed, place, generation: 0 }
    }

    /// As one word for epoll: place, generation, class and side.
    pub fn word(self, face: Face) -> u64 {
        let low = (u32::from(self.class as u8) << 1) | u32::from(face == Face::Outer);
        (u64::from(self.place) << 32) | (u64::from(self.generation) << 8) | u64::from(low)
    }

    /// The reverse of [`Token::word`].
    pub fn from_word(word: u64) -> Option<(Self, Face)> {
        let class = match (word as u8) >> 1 {
            0 => Class::Fixed,
            1 => Class::Tcp,
            2 => Class::Udp,
            3 => Class::Ping,
            4 => Class::Publication,
            _ => return None,
        };
        let face = if word & 1 == 1 { Face::Outer } else { Face::Inner };
        let generation = (word as u32 >> 8) & GENERATIONS;
        Some((Self { class, place: (word >> 32) as u32, generation }, face))
    }
}

/// Values of one class under tokens.
pub(crate) struct Slab<T> {
    class: Class,
    slots: Vec<(u32, Option<T>)>,
    free: Vec<u32>,
}

impl<T> Slab<T> {
    pub fn new(class: Class) -> Self {
        Self { class, slots: Vec::new(), free: Vec::new() }
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub fn insert(&mut self, value: T) -> Token {
        let place = self.free.pop().unwrap_or_else(|| {
            self.slots.push((0, None));
            (self.slots.len() - 1) as u32
        });
        let slot = &mut self.slots[place as usize];
        slot.1 = Some(value);
        Token { class: self.class, place, generation: slot.0 }
    }

    pub fn get_mut(&mut self, token: Token) -> Option<&mut T> {
        let slot = self.slots.get_mut(token.place as usize)?;
        if slot.0 == token.generation && token.class == self.class { slot.1.as_mut() } else { None }
    }

    pub fn remove(&mut self, token: Token) -> Option<T> {
        self.get_mut(token)?;
        let slot = &mut self.slots[token.place as usize];
        slot.0 = (slot.0 + 1) & GENERATIONS;
        self.free.push(token.place);
        slot.1.take()
    }

    /// Every value with its token.
    pub fn iter(&self) -> impl Iterator<Item = (Token, &T)> {
        self.slots.iter().enumerate().filter_map(|(place, (generation, value))| {
            let token = Token { class: self.class, place: place as u32, generation: *generation };
            Some((token, value.as_ref()?))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_token_finds_nothing() {
        let mut slab = Slab::new(Class::Tcp);
        let first = slab.insert("first");
        assert_eq!(slab.remove(first), Some("first"));
        let second = slab.insert("second");
        assert_eq!(first.place, second.place);
        assert_eq!(slab.get_mut(first), None);
        assert_eq!(slab.remove(first), None);
        assert_eq!(slab.get_mut(second), Some(&mut "second"));
        assert_eq!((slab.len(), slab.iter().count()), (1, 1));
    }

    #[test]
    fn words_carry_tokens() {
        for class in [Class::Fixed, Class::Tcp, Class::Udp, Class::Ping, Class::Publication] {
            for face in [Face::Inner, Face::Outer] {
                let token = Token { class, place: u32::MAX, generation: GENERATIONS };
                assert_eq!(Token::from_word(token.word(face)), Some((token, face)));
            }
        }
        assert_eq!(Token::from_word(0xff), None);
    }
}
