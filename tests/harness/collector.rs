//! A receiver of OTLP over gRPC, on the protocol's own messages. It keeps every span.

#![allow(dead_code)] // Each user of this module uses a part of it.

use std::{net::SocketAddr, time::Duration};

use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::any_value::Value,
    trace::v1::Span,
};
use tokio::{net::TcpListener, sync::watch};
use tonic::{
    Request, Response, Status,
    transport::{Server, server::TcpIncoming},
};

const PATIENCE: Duration = Duration::from_secs(120);

/// A span, and the service that sent it.
#[derive(Clone, Debug)]
pub struct Received {
    pub service: String,
    pub span: Span,
}

impl Received {
    pub fn trace_id(&self) -> String {
        hex(&self.span.trace_id)
    }

    pub fn span_id(&self) -> String {
        hex(&self.span.span_id)
    }

    pub fn parent_id(&self) -> String {
        hex(&self.span.parent_span_id)
    }

    /// As text; empty if it has no such attribute.
    pub fn attribute(&self, key: &str) -> String {
        let found = self.span.attributes.iter().find(|attribute| attribute.key == key);
        match found.and_then(|attribute| attribute.value.as_ref()?.value.as_ref()) {
            Some(Value::StringValue(text)) => text.clone(),
            Some(Value::IntValue(number)) => number.to_string(),
            other => other.map(|value| format!("{value:?}")).unwrap_or_default(),
        }
    }
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub struct Collector {
    pub address: SocketAddr,
    spans: watch::Receiver<Vec<Received>>,
}

struct Sink(watch::Sender<Vec<Received>>);

#[tonic::async_trait]
impl TraceService for Sink {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.0.send_modify(|spans| {
            for of_resource in request.into_inner().resource_spans {
                let resource = of_resource.resource.unwrap_or_default();
                let name = resource.attributes.iter().find(|attribute| attribute.key == "service.name");
                let service = match name.and_then(|name| name.value.as_ref()?.value.as_ref()) {
                    Some(Value::StringValue(name)) => name.clone(),
                    _ => String::new(),
                };
                let all = of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
                spans.extend(all.map(|span| Received { service: service.clone(), span }));
            }
        });
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    pub async fn start() -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (sender, spans) = watch::channel(Vec::new());
        let server = Server::builder().add_service(TraceServiceServer::new(Sink(sender)));
        tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
        Ok(Self { address, spans })
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All spans so far, as soon as they are what is wanted.
    ///
    /// # Panics
    /// When that does not come.
    pub async fn until(&self, wanted: impl Fn(&[Received]) -> bool) -> Vec<Received> {
        let mut spans = self.spans.clone();
        let come = tokio::time::timeout(PATIENCE, spans.wait_for(|spans| wanted(spans))).await;
        let told = || {
            let all = self.spans.borrow();
            let told = all.iter().map(|one| format!("{} {} {}", one.trace_id(), one.service, one.span.name));
            told.collect::<Vec<_>>().join("\n")
        };
        come.unwrap_or_else(|_| panic!("only these spans came:\n{}", told())).expect("a collector").to_vec()
    }
}
