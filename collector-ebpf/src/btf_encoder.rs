//! Writes BTF: the types of our own programs, and those of the fixture kernel in tests.

/// Types and strings so far. Every method that adds a type returns its number.
pub struct BtfEncoder {
    types: Vec<u8>,
    strings: Vec<u8>,
    next_id: u32,
}

const KIND_INT: u32 = 1;
const KIND_POINTER: u32 = 2;
const KIND_ARRAY: u32 = 3;
const KIND_FUNCTION: u32 = 12;
const KIND_FUNCTION_PROTOTYPE: u32 = 13;

impl BtfEncoder {
    /// Nothing but `void` (type 0).
    pub fn new() -> BtfEncoder {
        BtfEncoder { types: Vec::new(), strings: vec![0], next_id: 1 }
    }

    /// Where `text` stands in the strings; bytes after a NUL are left out.
    pub fn string(&mut self, text: &str) -> u32 {
        let text = text.split('\0').next().unwrap_or_default();
        if text.is_empty() {
            return 0;
        }
        let at = u32::try_from(self.strings.len()).expect("the source text of a program is below 4 GiB");
        self.strings.extend_from_slice(text.as_bytes());
        self.strings.push(0);
        at
    }

    /// An integer.
    pub fn int(&mut self, name: &str, bytes: u32, signed: bool) -> u32 {
        self.add(KIND_INT, name, 0, false, bytes, &[(u32::from(signed) << 24) | (bytes * 8)])
    }

    /// A pointer.
    pub fn pointer(&mut self, to: u32) -> u32 {
        self.add(KIND_POINTER, "", 0, false, to, &[])
    }

    /// An array of so many elements; `index` is an integer type.
    pub fn array(&mut self, element: u32, index: u32, length: u32) -> u32 {
        self.add(KIND_ARRAY, "", 0, false, 0, &[element, index, length])
    }

    /// A function's parameters and result.
    pub fn prototype(&mut self, result: u32, parameters: &[(&str, u32)]) -> u32 {
        let mut words = Vec::new();
        for (name, id) in parameters {
            words.extend([self.string(name), *id]);
        }
        self.add(KIND_FUNCTION_PROTOTYPE, "", parameters.len(), false, result, &words)
    }

    /// A function; `global` ones the verifier looks at by their types alone, others with what their callers give them.
    pub fn function(&mut self, name: &str, prototype: u32, global: bool) -> u32 {
        // The count of a function is its linkage: 0 is static, 1 is global.
        self.add(KIND_FUNCTION, name, usize::from(global), false, prototype, &[])
    }

    /// Any type: its head and the words after it.
    pub fn add(&mut self, kind: u32, name: &str, count: usize, flag: bool, size_or_type: u32, words: &[u32]) -> u32 {
        let count = u32::from(u16::try_from(count).expect("we write no type of 65,536 members"));
        let head = [self.string(name), (u32::from(flag) << 31) | (kind << 24) | count, size_or_type];
        for word in head.iter().chain(words) {
            self.types.extend_from_slice(&word.to_ne_bytes());
        }
        self.next_id += 1;
        self.next_id - 1
    }

    /// The number of the type that is added next.
    #[cfg(test)]
    pub fn next_id(&self) -> u32 {
        self.next_id
    }

    /// The whole, with its header.
    pub fn finish(self) -> Vec<u8> {
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).expect("the types of a program are below 4 GiB");
        let (types, strings) = (length(&self.types), length(&self.strings));
        let mut out = Vec::with_capacity(24 + self.types.len() + self.strings.len());
        out.extend_from_slice(&0xeb9f_u16.to_ne_bytes());
        // Version 1, no flags.
        out.extend_from_slice(&[1, 0]);
        for word in [24, 0, types, types, strings] {
            out.extend_from_slice(&word.to_ne_bytes());
        }
        out.extend_from_slice(&self.types);
        out.extend_from_slice(&self.strings);
        out
    }
}
