//! `inet(bytes)`: an address of 4 or 16 bytes in network order as text.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use arrow::array::{Array, AsArray, StringViewBuilder};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use probepilot_sql::SqlType;
use probepilot_sql::types::TYPE_KEY;

/// The function.
pub fn inet() -> ScalarUDF {
    ScalarUDF::from(Inet { signature: Signature::any(1, Volatility::Immutable) })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Inet {
    signature: Signature,
}

impl ScalarUDFImpl for Inet {
    fn name(&self) -> &str {
        "inet"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, argument_types: &[DataType]) -> Result<DataType> {
        match argument_types {
            [DataType::FixedSizeBinary(4 | 16)] => Ok(DataType::Utf8View),
            _ => plan_err!("inet takes an address of 4 or 16 bytes"),
        }
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let data_type = self.return_type(&[args.arg_fields[0].data_type().clone()])?;
        let metadata = [(TYPE_KEY.to_owned(), SqlType::Inet.sql().to_owned())].into();
        Ok(Arc::new(Field::new(self.name(), data_type, true).with_metadata(metadata)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let addresses = arrays[0].as_fixed_size_binary();
        let mut builder = StringViewBuilder::with_capacity(addresses.len());
        let mut text = String::new();
        for row in 0..addresses.len() {
            let address = if addresses.is_null(row) { None } else { address(addresses.value(row)) };
            match address {
                Some(address) => {
                    use std::fmt::Write;
                    text.clear();
                    write!(text, "{address}").expect("writing to a string cannot fail");
                    builder.append_value(&text);
                }
                None => builder.append_null(),
            }
        }
        Ok(ColumnarValue::Array(Arc::new(builder.finish())))
    }
}

/// The address; one of version 4 that is mapped into version 6 is shown as what it is.
fn address(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(bytes) = <[u8; 4]>::try_from(bytes) {
        return Some(IpAddr::V4(Ipv4Addr::from(bytes)));
    }
    let address = Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?);
    Some(address.to_ipv4_mapped().map_or(IpAddr::V6(address), IpAddr::V4))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_as_people_write_them() {
        assert_eq!(address(&[127, 0, 0, 1]).map(|a| a.to_string()), Some("127.0.0.1".into()));
        let mut loopback = [0; 16];
        loopback[15] = 1;
        assert_eq!(address(&loopback).map(|a| a.to_string()), Some("::1".into()));
        let mapped = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 1, 2, 3];
        assert_eq!(address(&mapped).map(|a| a.to_string()), Some("10.1.2.3".into()));
        assert_eq!(address(&[1, 2]), None);
    }
}
