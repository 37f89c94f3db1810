//! FatturaPA, the Italian e-invoice. A file may hold a lot of several invoices: the fields are the first
//! one's, and a flag says so.

use roxmltree::Node;
use rust_decimal::Decimal;

use super::Structured;
use super::tree::{all, content, day, field, first, money, name, text};
use crate::document::{Field, Fields, Kind};
use crate::read::text::amount;

#[must_use]
pub fn read(root: Node<'_, '_>) -> Structured {
    let header = first(root, "FatturaElettronicaHeader").unwrap_or(root);
    let bodies = all(root, "FatturaElettronicaBody");
    let body = bodies.first().copied().unwrap_or(root);
    let general = first(body, "DatiGenerali/DatiGeneraliDocumento").unwrap_or(body);
    let seller = first(header, "CedentePrestatore");
    let buyer = first(header, "CessionarioCommittente");
    let none = || field(None, "not in the XML");
    let code = text(general, &["TipoDocumento"]).map(|t| t.0).unwrap_or_default();
    let net = sum(body, "DatiBeniServizi/DatiRiepilogo/ImponibileImporto");
    let tax = sum(body, "DatiBeniServizi/DatiRiepilogo/Imposta");
    let mut flags = Vec::new();
    if bodies.len() > 1 {
        flags.push(format!("a lot of {} invoices: the first is shown", bodies.len()));
    }
    let fields = Fields {
        supplier: seller.map_or_else(none, party_name),
        vat_id: seller.map_or_else(none, tax_id),
        buyer: buyer.map_or_else(none, party_name),
        number: name(general, &["Numero"]),
        issue_date: day(text(general, &["Data"])),
        due_date: day(text(body, &["DatiPagamento/DettaglioPagamento/DataScadenzaPagamento"])),
        currency: name(general, &["Divisa"]),
        net: total_field(net, "DatiRiepilogo/ImponibileImporto"),
        tax: total_field(tax, "DatiRiepilogo/Imposta"),
        total: total(general, net, tax),
        payable: payable(body),
    };
    Structured {
        kind: if matches!(code.as_str(), "TD04" | "TD08") { Kind::CreditNote } else { Kind::Invoice },
        fields,
        flags,
    }
}

fn party_name(party: Node<'_, '_>) -> Field {
    let person = first(party, "DatiAnagrafici/Anagrafica").or_else(|| first(party, "IdentificativiFiscali"));
    if let Some(found) = text(
        party,
        &[
            "DatiAnagrafici/Anagrafica/Denominazione",
            "Denominazione",
            "AltriDatiIdentificativi/Denominazione",
        ],
    ) {
        return field(Some(found), "");
    }
    let part = |p: &str| person.and_then(|n| text(n, &[p])).map(|t| t.0);
    let names: Vec<String> = [part("Nome"), part("Cognome")].into_iter().flatten().collect();
    field((!names.is_empty()).then(|| (names.join(" "), "Anagrafica".to_owned())), "not in the XML")
}

fn tax_id(party: Node<'_, '_>) -> Field {
    let vat = first(party, "DatiAnagrafici/IdFiscaleIVA").or_else(|| first(party, "IdFiscaleIVA"));
    let id = vat.map(|v| {
        let part = |p: &str| text(v, &[p]).map(|t| t.0).unwrap_or_default();
        (format!("{}{}", part("IdPaese"), part("IdCodice")), "IdFiscaleIVA".to_owned())
    });
    field(id.or_else(|| text(party, &["DatiAnagrafici/CodiceFiscale"])), "not in the XML")
}

fn sum(body: Node<'_, '_>, path: &str) -> Option<Decimal> {
    let nodes = all(body, path);
    let values: Option<Vec<Decimal>> = nodes.iter().map(|n| amount::machine(&content(*n))).collect();
    values.filter(|v| !v.is_empty()).map(|v| v.iter().sum())
}

fn total_field(value: Option<Decimal>, place: &str) -> Field {
    field(value.map(|v| (amount::show(v), place.to_owned())), "not in the XML")
}

/// The stated total, else net and tax: the element is optional.
fn total(general: Node<'_, '_>, net: Option<Decimal>, tax: Option<Decimal>) -> Field {
    let stated = text(general, &["ImportoTotaleDocumento"]);
    if stated.is_some() {
        return money(stated);
    }
    let mut field = total_field(net.zip(tax).map(|(n, t)| n + t), "ImponibileImporto + Imposta");
    if field.value.is_some() {
        field.confidence = 0.9;
        field.reason = "the file states no total: net and tax were added".into();
    }
    field
}

/// What is to be paid: the sum of the instalments.
fn payable(body: Node<'_, '_>) -> Field {
    total_field(
        sum(body, "DatiPagamento/DettaglioPagamento/ImportoPagamento"),
        "DettaglioPagamento/ImportoPagamento",
    )
}
