//! Many names in order in little memory: of each only what differs from the one before. Pure.

/// Names, in the order in which they came.
#[derive(Debug, Default)]
pub struct Names {
    bytes: Vec<u8>,
    last: String,
    count: u64,
}

impl Names {
    /// Adds a name of at most 65,535 bytes; longer ones, which no store has, are cut.
    pub fn push(&mut self, name: &str) {
        let shared = self.last.bytes().zip(name.bytes()).take_while(|(a, b)| a == b).count();
        let shared = u16::try_from(shared).unwrap_or(u16::MAX);
        let rest = &name.as_bytes()[usize::from(shared)..];
        let length = u16::try_from(rest.len()).unwrap_or(u16::MAX);
        self.bytes.extend(shared.to_le_bytes());
        self.bytes.extend(length.to_le_bytes());
        self.bytes.extend(&rest[..usize::from(length)]);
        name.clone_into(&mut self.last);
        self.count += 1;
    }

    /// How many there are.
    pub fn len(&self) -> u64 {
        self.count
    }

    /// Forgets all of them.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = String> + Send + '_ {
        let (mut rest, mut last) = (&self.bytes[..], Vec::new());
        std::iter::from_fn(move || {
            let (head, tail) = rest.split_at_checked(4)?;
            let number = |bytes: &[u8]| usize::from(u16::from_le_bytes([bytes[0], bytes[1]]));
            let (own, tail) = tail.split_at_checked(number(&head[2..]))?;
            rest = tail;
            last.truncate(number(head));
            last.extend_from_slice(own);
            Some(String::from_utf8_lossy(&last).into_owned())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back_as_they_came_and_take_little_room() {
        let mut names = Names::default();
        let given: Vec<String> = (0..1_000)
            .map(|n| format!("acme/a/long/folder/of/many/files/ü {n:04}.csv"))
            .chain(["b".into(), String::new(), "é".into(), "è".into()])
            .collect();
        given.iter().for_each(|name| names.push(name));
        assert_eq!(names.iter().collect::<Vec<_>>(), given);
        assert_eq!(names.len(), 1_004);
        assert!(names.bytes.len() < 16_000, "{}", names.bytes.len());
        names.clear();
        assert_eq!(names.iter().next(), None);
    }
}
