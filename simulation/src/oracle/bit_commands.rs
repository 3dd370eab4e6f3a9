//! What commands on the bits of strings answer and write.

use super::commands::{Answer, Call, count, flag};
use super::execution::NewLife;
use super::history::{Bits, Life, Patch};
use crate::reply::Value;

impl Call<'_, '_> {
    pub(super) fn bits(&mut self, name: &str) -> Option<Answer> {
        let key = self.key(1);
        Some(match name {
            "setbit" => {
                let (offset, value) = (self.number(2) as usize, self.number(3) as u64);
                self.write_bits(Bits { offset, count: 1, value }).map(|was| Value::Integer(was as i64))
            }
            "bitfield" => {
                let width = self.arg(3).trim_start_matches('u').parse().unwrap_or(8);
                let offset = width * self.arg(4).trim_start_matches('#').parse::<usize>().unwrap_or(0);
                let field = Bits { offset, count: width, value: self.number(5) as u64 };
                let adds = self.arg(2).eq_ignore_ascii_case("incrby");
                self.text(&key).and_then(|old| {
                    let found = field.of(old.as_deref().unwrap_or_default());
                    let value = if adds { (found + field.value) % (1 << width) } else { field.value };
                    let was = self.write_bits(Bits { value, ..field })?;
                    Ok(Value::Array(vec![Value::Integer(if adds { value } else { was } as i64)]))
                })
            }
            "getbit" => self.text(&key).map(|text| {
                let bit = Bits { offset: self.number(2) as usize, count: 1, value: 0 };
                flag(bit.of(text.as_deref().unwrap_or_default()) == 1)
            }),
            "bitcount" => self.text(&key).map(|text| {
                let ones = text.unwrap_or_default().bytes().map(u8::count_ones).sum::<u32>();
                count(ones as usize)
            }),
            "bitop" => self.call_bitop(),
            _ => return None,
        })
    }

    /// Writes bits of the string that the first argument names, and says what they were.
    fn write_bits(&mut self, bits: Bits) -> Result<u64, &'static str> {
        let key = self.key(1);
        let old = self.text(&key)?;
        let was = bits.of(old.as_deref().unwrap_or_default());
        self.execution.patch_string(&key, old, Patch::Bits(bits));
        Ok(was)
    }

    fn call_bitop(&mut self) -> Answer {
        let (operation, target) = (self.arg(1).to_ascii_lowercase(), self.key(2));
        let mut result = self.text(&self.key(3))?.unwrap_or_default().into_bytes();
        let other = self.text(&self.key(4))?.unwrap_or_default().into_bytes();
        result.resize(result.len().max(other.len()), 0);
        for (at, byte) in result.iter_mut().enumerate() {
            let other = other.get(at).copied().unwrap_or(0);
            *byte = match operation.as_str() {
                "and" => *byte & other,
                "or" => *byte | other,
                _ => *byte ^ other,
            };
        }
        if result.is_empty() {
            self.execution.delete(&target);
        } else {
            let text = String::from_utf8_lossy(&result).into_owned();
            self.execution.put_string(&target, &text, NewLife::Set(Life::Never));
        }
        Ok(count(result.len()))
    }
}
