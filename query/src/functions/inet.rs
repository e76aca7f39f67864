//! Addresses and networks, which are kept as their texts.

use std::net::IpAddr;

use arrow::datatypes::DataType;
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::logical_expr::ScalarUDF;
use probepilot_sql::{SqlError, SqlState, SqlType};

use super::by_row::{Body, ByRow, number, text, utf8};

/// All of them, by the names PostgreSQL has for the functions and for those behind the operators.
pub(super) fn all() -> Vec<ScalarUDF> {
    let textual = |name, body: Body| ByRow::new(name, 1, 1, DataType::Utf8, body).into_udf();
    let address =
        |name, body: Body| ByRow::new(name, 1, 1, DataType::Utf8, body).of_type(SqlType::Inet.sql()).into_udf();
    let test = |name, body: Body| ByRow::new(name, 2, 2, DataType::Boolean, body).into_udf();
    vec![
        textual("host", |_, values| Ok(utf8(read(&values[0])?.address.to_string()))),
        textual("abbrev", |_, values| Ok(utf8(read(&values[0])?.show()))),
        address("network", |_, values| {
            let network = read(&values[0])?;
            Ok(utf8(format!("{}/{}", network.first(), network.bits)))
        }),
        address("broadcast", |_, values| {
            let network = read(&values[0])?;
            Ok(utf8(Network { address: network.last(), bits: network.bits }.show()))
        }),
        address("netmask", |_, values| Ok(utf8(read(&values[0])?.mask().to_string()))),
        ByRow::new("masklen", 1, 1, DataType::Int32, |_, values| {
            Ok(ScalarValue::Int32(Some(i32::from(read(&values[0])?.bits))))
        })
        .into_udf(),
        ByRow::new("family", 1, 1, DataType::Int32, |_, values| {
            Ok(ScalarValue::Int32(Some(if read(&values[0])?.address.is_ipv4() { 4 } else { 6 })))
        })
        .into_udf(),
        ByRow::new("set_masklen", 2, 2, DataType::Utf8, |_, values| {
            let network = read(&values[0])?;
            let bits =
                number(&values[1]).and_then(|bits| u8::try_from(bits).ok()).filter(|bits| *bits <= network.width());
            match bits {
                Some(bits) => Ok(utf8(Network { bits, ..network }.show())),
                None => Err(refused(SqlState::INVALID_PARAMETER_VALUE, format!("invalid mask length: {}", values[1]))),
            }
        })
        .of_type(SqlType::Inet.sql())
        .into_udf(),
        network_sub(),
        test("network_subeq", |_, values| within(&values[0], &values[1], true)),
        test("network_sup", |_, values| within(&values[1], &values[0], false)),
        test("network_supeq", |_, values| within(&values[1], &values[0], true)),
    ]
}

/// `a << b`: whether an address or a network lies in a network, and is not the same.
pub(super) fn network_sub() -> ScalarUDF {
    ByRow::new("network_sub", 2, 2, DataType::Boolean, |_, values| within(&values[0], &values[1], false)).into_udf()
}

fn refused(state: SqlState, message: String) -> DataFusionError {
    DataFusionError::External(Box::new(SqlError::new(state, message)))
}

/// An address, and how many of its bits say the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Network {
    address: IpAddr,
    bits: u8,
}

fn read(value: &ScalarValue) -> Result<Network> {
    let written = text(value).unwrap_or_default();
    Network::read(written).ok_or_else(|| {
        refused(SqlState::INVALID_TEXT_REPRESENTATION, format!("invalid input syntax for type inet: \"{written}\""))
    })
}

fn within(inner: &ScalarValue, outer: &ScalarValue, or_equal: bool) -> Result<ScalarValue> {
    let (inner, outer) = (read(inner)?, read(outer)?);
    let smaller = if or_equal { inner.bits >= outer.bits } else { inner.bits > outer.bits };
    let same = inner.address.is_ipv4() == outer.address.is_ipv4()
        && Network { bits: outer.bits, ..inner }.first() == outer.first();
    Ok(ScalarValue::Boolean(Some(smaller && same)))
}

impl Network {
    fn read(text: &str) -> Option<Network> {
        let text = text.trim();
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse::<u8>().ok()?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let network = Network { address, bits: 0 };
        let bits = bits.unwrap_or_else(|| network.width());
        (bits <= network.width()).then_some(Network { bits, ..network })
    }

    /// Bits of an address.
    fn width(self) -> u8 {
        if self.address.is_ipv4() { 32 } else { 128 }
    }

    /// The bits of an address at the low end.
    fn number(address: IpAddr) -> u128 {
        match address {
            IpAddr::V4(address) => u128::from(u32::from(address)),
            IpAddr::V6(address) => u128::from(address),
        }
    }

    fn of_number(self, number: u128) -> IpAddr {
        match self.address {
            // The bits above the address are cut.
            IpAddr::V4(_) => IpAddr::V4((number as u32).into()),
            IpAddr::V6(_) => IpAddr::V6(number.into()),
        }
    }

    /// Ones where hosts of the network differ.
    fn host_bits(self) -> u128 {
        match self.width() - self.bits {
            128 => u128::MAX,
            bits => (1 << bits) - 1,
        }
    }

    fn first(self) -> IpAddr {
        self.of_number(Network::number(self.address) & !self.host_bits())
    }

    fn last(self) -> IpAddr {
        self.of_number(Network::number(self.address) | self.host_bits())
    }

    fn mask(self) -> IpAddr {
        self.of_number(!self.host_bits())
    }

    /// The text: without its bits when all of them say the network.
    fn show(self) -> String {
        if self.bits == self.width() { self.address.to_string() } else { format!("{}/{}", self.address, self.bits) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Network {
        Network::read(text).unwrap()
    }

    #[test]
    fn a_network_has_its_first_and_last_address() {
        assert_eq!(of("10.1.2.3/24").first().to_string(), "10.1.2.0");
        assert_eq!(of("10.1.2.3/24").last().to_string(), "10.1.2.255");
        assert_eq!(of("10.1.2.3/20").mask().to_string(), "255.255.240.0");
        assert_eq!(of("0.0.0.0/0").last().to_string(), "255.255.255.255");
        assert_eq!(of("fe80::1/64").first().to_string(), "fe80::");
        assert_eq!(of("::/0").last().to_string(), "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff");
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in ["", "10.1.2", "10.1.2.3/33", "::1/129", "host"] {
            assert_eq!(Network::read(text), None, "{text}");
        }
    }
}
