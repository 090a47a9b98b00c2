//! What travels over the unix socket: requests refuse unknown fields, replies may grow.

mod request;
mod view;

pub use crate::stream::{Control, STREAM_PROTOCOL, Stream};
pub use request::*;
pub use view::*;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::{HostAddr, PortRange, Protocol, Published};

    #[test]
    fn unknown_fields_of_a_request_are_refused() {
        let error = serde_json::from_str::<RunRequest>(r#"{"bogus":1}"#).unwrap_err();
        assert!(error.to_string().contains("bogus"), "{error}");
    }

    #[test]
    fn a_binding_shows_v6_only_where_the_network_has_it() {
        let published = Published {
            host: HostAddr::Any,
            host_ports: PortRange::single(8080).unwrap(),
            container: PortRange::single(80).unwrap(),
            protocol: Protocol::Tcp,
        };
        let shown = |v6| NetworkBinding::of(&published, v6).into_iter().map(|b| b.bind_ip).collect::<Vec<_>>();
        assert_eq!(shown(false), ["0.0.0.0"]);
        assert_eq!(shown(true), ["0.0.0.0", "::"]);
        let json = serde_json::to_value(&NetworkBinding::of(&published, false)[0]).unwrap();
        assert_eq!(json, serde_json::json!({"bindIP":"0.0.0.0","containerPort":80,"hostPort":8080,"protocol":"tcp"}));
    }
}
