//! `rpc.discover`: the API, described by itself in OpenRPC 1.3 (spec.open-rpc.org).
//!
//! It is written from the table by which calls are dispatched: what is there is described, and nothing else.

use crate::json;

use super::call::Call;
use super::fault::{AWAY, FULL, Fault, INVALID, NO_CHANNEL, NO_CLIENT};
use super::methods::{METHODS, Method, Needs, Parameter};
use super::shape::Shape;

const HEAD: &str = concat!(
    r#"{"openrpc":"1.3.2","info":{"title":"Shaveet","version":""#,
    env!("CARGO_PKG_VERSION"),
    r#"","description":"What a web application asks of its push server, by JSON-RPC 2.0."}"#,
);

pub(super) fn discover(call: &mut Call<'_, '_, '_>) -> Result<(), Fault> {
    let out = &mut *call.out;
    out.extend_from_slice(HEAD.as_bytes());
    out.extend_from_slice(br#","methods":["#);
    for (at, method) in METHODS.iter().enumerate() {
        separate(out, at);
        write_method(out, method);
    }
    out.extend_from_slice(br#"],"components":{"schemas":{"#);
    for (at, shape) in Shape::ALL.into_iter().enumerate() {
        separate(out, at);
        let (name, schema) = shape.schema();
        json::write_str(out, name);
        out.extend_from_slice(br#":{"title":"#);
        json::write_str(out, name);
        out.push(b',');
        // It is written over several lines for those who read it here.
        schema.split('\n').for_each(|line| out.extend_from_slice(line.trim_start().as_bytes()));
        out.push(b'}');
    }
    out.extend_from_slice(b"}}}");
    Ok(())
}

fn write_method(out: &mut Vec<u8>, method: &Method) {
    out.extend_from_slice(br#"{"name":"#);
    json::write_str(out, method.name);
    out.extend_from_slice(br#","summary":"#);
    json::write_str(out, method.summary);
    out.extend_from_slice(br#","paramStructure":"either","params":["#);
    for (at, parameter) in method.parameters.iter().enumerate() {
        separate(out, at);
        write_parameter(out, parameter, at < method.least());
    }
    out.extend_from_slice(br#"],"result":{"name":"result","schema":"#);
    write_reference(out, method.result);
    out.extend_from_slice(br#"},"errors":["#);
    let mut errors = vec![INVALID];
    if !method.parameters.is_empty() {
        errors.extend([FULL, AWAY]);
    }
    errors.extend(method.needs.iter().map(|needs| match needs {
        Needs::Client => NO_CLIENT,
        Needs::Channel => NO_CHANNEL,
    }));
    for (at, (code, message)) in errors.into_iter().enumerate() {
        separate(out, at);
        out.extend_from_slice(format!("{{\"code\":{code},\"message\":").as_bytes());
        json::write_str(out, message);
        out.push(b'}');
    }
    out.extend_from_slice(b"]}");
}

fn write_parameter(out: &mut Vec<u8>, parameter: &Parameter, is_required: bool) {
    out.extend_from_slice(br#"{"name":"#);
    json::write_str(out, parameter.name);
    out.extend_from_slice(br#","summary":"#);
    json::write_str(out, parameter.summary);
    out.extend_from_slice(format!(",\"required\":{is_required},\"schema\":").as_bytes());
    write_reference(out, parameter.shape);
    out.push(b'}');
}

fn write_reference(out: &mut Vec<u8>, shape: Shape) {
    out.extend_from_slice(br##"{"$ref":"#/components/schemas/"##);
    out.extend_from_slice(shape.schema().0.as_bytes());
    out.extend_from_slice(br#""}"#);
}

fn separate(out: &mut Vec<u8>, at: usize) {
    if at > 0 {
        out.push(b',');
    }
}
