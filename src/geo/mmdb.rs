//! Writes MMDB files for tests and benchmarks, sound ones and mangled ones.
//!
//! The format: a binary search tree over the bits of an address, 16 zero bytes, the records, a marker, a map about it all.
//! <https://maxmind.github.io/MaxMind-DB/>

use ipnet::IpNet;

/// A value of a record.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Text(&'static str),
    Short(u16),
    Number(u32),
    Long(u64),
    Double(f64),
    Float(f32),
    List(Vec<Value>),
    Map(Vec<(&'static str, Value)>),
}

/// A branch of a node.
#[derive(Clone, Copy, Debug)]
pub(super) enum Branch {
    Empty,
    Node(usize),
    /// Index of a record.
    Record(usize),
}

/// A map.
pub(super) fn map<const N: usize>(fields: [(&'static str, Value); N]) -> Value {
    Value::Map(fields.into())
}

/// A database in the making.
#[derive(Clone, Debug)]
pub(super) struct Writer {
    pub(super) ip_version: u16,
    pub(super) record_size: u16,
    pub(super) nodes: Vec<[Branch; 2]>,
    pub(super) records: Vec<Value>,
}

impl Writer {
    /// `networks` with what contains others first. IPv4 networks of an IPv6 database go below `::/96`.
    pub(super) fn new(ip_version: u16, networks: &[(&str, Value)]) -> Self {
        let mut writer = Self { ip_version, record_size: 24, nodes: vec![[Branch::Empty; 2]], records: Vec::new() };
        for (network, record) in networks {
            writer.records.push(record.clone());
            let (bits, length) = writer.bits(network);
            writer.put(bits, length, Branch::Record(writer.records.len() - 1));
        }
        writer
    }

    /// Lets the usual aliases of IPv4 lead to what is below `::/96`.
    pub(super) fn alias(mut self) -> Self {
        let mut node = 0;
        for _ in 0..96 {
            let [Branch::Node(next), _] = self.nodes[node] else { panic!("no IPv4 subtree") };
            node = next;
        }
        for network in ["::ffff:0:0/96", "2001::/32", "2002::/16"] {
            let (bits, length) = self.bits(network);
            self.put(bits, length, Branch::Node(node));
        }
        self
    }

    fn bits(&self, network: &str) -> (u128, u8) {
        match network.parse().expect(network) {
            IpNet::V4(net) if self.ip_version == 4 => (u128::from(net.network().to_bits()) << 96, net.prefix_len()),
            IpNet::V4(net) => (net.network().to_bits().into(), 96 + net.prefix_len()),
            IpNet::V6(net) => (net.network().to_bits(), net.prefix_len()),
        }
    }

    /// Lets the network of the first `length` bits lead to `branch`.
    pub(super) fn put(&mut self, bits: u128, length: u8, branch: Branch) {
        let mut node = 0;
        for depth in 0..length {
            let side = usize::from(bits >> (127 - depth) & 1 == 1);
            if depth + 1 == length {
                self.nodes[node][side] = branch;
                return;
            }
            node = match self.nodes[node][side] {
                Branch::Node(next) => next,
                leaf => {
                    self.nodes.push([leaf; 2]);
                    self.nodes[node][side] = Branch::Node(self.nodes.len() - 1);
                    self.nodes.len() - 1
                }
            };
        }
    }

    /// The bytes of the file.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut records = Vec::new();
        let mut offsets = Vec::new();
        for record in &self.records {
            offsets.push(records.len());
            encode(record, &mut records);
        }
        let n_nodes = self.nodes.len();
        let pointer = |branch| match branch {
            Branch::Empty => n_nodes,
            Branch::Node(node) => node,
            Branch::Record(record) => n_nodes + 16 + offsets[record],
        };
        let mut bytes = Vec::new();
        for node in &self.nodes {
            let [left, right] = node.map(|branch| u32::try_from(pointer(branch)).expect("small"));
            let (left, right) = (left.to_be_bytes(), right.to_be_bytes());
            let unused = usize::from(4 - self.record_size / 8);
            match self.record_size {
                28 => {
                    bytes.extend_from_slice(&left[1..]);
                    bytes.push(left[0] << 4 | right[0]);
                    bytes.extend_from_slice(&right[1..]);
                }
                _ => bytes.extend([&left[unused..], &right[unused..]].concat()),
            }
        }
        bytes.extend([0; 16]);
        bytes.extend(records);
        bytes.extend(b"\xab\xcd\xefMaxMind.com");
        let metadata = map([
            ("binary_format_major_version", Value::Short(2)),
            ("binary_format_minor_version", Value::Short(0)),
            ("build_epoch", Value::Long(1_700_000_000)),
            ("database_type", Value::Text("Test")),
            ("description", map([("en", Value::Text("made by a test"))])),
            ("ip_version", Value::Short(self.ip_version)),
            ("languages", Value::List(vec![Value::Text("en")])),
            ("node_count", Value::Number(u32::try_from(n_nodes).expect("small"))),
            ("record_size", Value::Short(self.record_size)),
        ]);
        encode(&metadata, &mut bytes);
        bytes
    }
}

fn encode(value: &Value, bytes: &mut Vec<u8>) {
    let mut head = |kind: u8, size: usize| {
        let (size, more) = if size < 29 { (size, None) } else { (29, Some(size - 29)) };
        let size = u8::try_from(size).expect("small");
        if kind < 8 {
            bytes.push(kind << 5 | size)
        } else {
            bytes.extend([size, kind - 7])
        }
        bytes.extend(more.map(|more| u8::try_from(more).expect("up to 284")));
    };
    match value {
        Value::Text(text) => {
            head(2, text.len());
            bytes.extend(text.bytes());
        }
        Value::Double(number) => {
            head(3, 8);
            bytes.extend(number.to_be_bytes());
        }
        Value::Float(number) => {
            head(15, 4);
            bytes.extend(number.to_be_bytes());
        }
        Value::Short(number) => {
            head(5, 2);
            bytes.extend(number.to_be_bytes());
        }
        Value::Long(number) => {
            head(9, 8);
            bytes.extend(number.to_be_bytes());
        }
        Value::Number(number) => {
            head(6, 4);
            bytes.extend(number.to_be_bytes());
        }
        Value::List(values) => {
            head(11, values.len());
            values.iter().for_each(|value| encode(value, bytes));
        }
        Value::Map(fields) => {
            head(7, fields.len());
            for (key, value) in fields {
                encode(&Value::Text(key), bytes);
                encode(value, bytes);
            }
        }
    }
}
