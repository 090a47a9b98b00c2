//! Instance types as policy: how many ENIs a container instance of a type could have (ECS developer guide, "Elastic
//! network interface trunking"; EC2 user guide, "IP addresses per network interface per instance type"). Linux itself
//! allows far more.

/// All types: `type,max_enis,ipv4_per_eni,tasks_plain,tasks_trunk_doc,tasks_trunk_derived,eks_branch`.
const TABLE: &str = include_str!("eni-limits.csv");

/// What a type allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// ENIs of its own, the primary one included.
    pub max_enis: u32,
    /// Tasks with an ENI each: all but the primary one.
    pub plain: u32,
    /// Tasks with a branch of a trunk each: as documented, else as derived; none where the type has no trunk.
    pub trunk: Option<u32>,
}

/// What a type is refused for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadProfile {
    /// No such type.
    #[error("no instance type {0:?} is known; write one such as t2.micro, or none for no limit")]
    Unknown(String),
    /// The type has no trunk.
    #[error("the instance type {0} does not support ENI trunking (awsvpcTrunking); leave out --trunking")]
    NoTrunk(String),
}

/// The limits of a type.
pub fn limits(instance_type: &str) -> Option<Limits> {
    let row = TABLE.lines().skip(1).find(|l| l.split(',').next() == Some(instance_type))?;
    let column = |n: usize| row.split(',').nth(n).and_then(|c| c.trim().parse::<i64>().ok());
    let number = |n: usize| column(n).and_then(|v| u32::try_from(v).ok());
    // Documented as zero or less means that there is none, whatever the formula says.
    let trunk = match column(4) {
        Some(documented) => u32::try_from(documented).ok().filter(|n| *n > 0),
        None => number(5).filter(|n| *n > 0),
    };
    Some(Limits { max_enis: number(1)?, plain: number(3)?, trunk })
}

/// How many tasks with an ENI a profile allows.
///
/// # Errors
/// See [`BadProfile`].
pub fn most(instance_type: &str, trunking: bool) -> Result<u32, BadProfile> {
    let shown: String = instance_type.chars().take(64).collect();
    let limits = limits(instance_type).ok_or_else(|| BadProfile::Unknown(shown.clone()))?;
    if trunking { limits.trunk.ok_or(BadProfile::NoTrunk(shown)) } else { Ok(limits.plain) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_of_the_documents() {
        let plain = |t: &str| most(t, false).unwrap();
        assert_eq!([plain("t2.micro"), plain("t2.small"), plain("c5.large"), plain("m5.24xlarge")], [1, 2, 2, 14]);
        assert_eq!(most("c5.large", true), Ok(10));
        assert_eq!(most("c5n.large", true), Ok(10), "not documented: derived");
        assert_eq!(most("t3.large", true), Err(BadProfile::NoTrunk("t3.large".into())));
        assert_eq!(most("i4i.large", true), Err(BadProfile::NoTrunk("i4i.large".into())), "documented as -2");
        assert!(matches!(most("x9.huge", false), Err(BadProfile::Unknown(_))));
        assert_eq!(TABLE.lines().count() - 1, 1164);
        assert!(TABLE.lines().skip(1).all(|l| limits(l.split(',').next().unwrap()).is_some()), "every row is read");
    }
}
