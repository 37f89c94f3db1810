//! UBL 2 Invoice and CreditNote (Peppol, XRechnung, EHF, OIOUBL, NLCIUS, CIUS-PT…).

use roxmltree::Node;

use super::Structured;
use super::tree::{all, content, day, field, first, money, name, text};
use crate::document::{Field, Fields, Kind};

/// UNTDID 1001 codes of documents that give money back.
pub const CREDIT_CODES: &[&str] = &["381", "261", "262", "296", "308", "396", "420", "458", "532", "83"];

/// Other vocabularies have an `Invoice` root too.
#[must_use]
pub fn fits(root: Node<'_, '_>) -> bool {
    let namespace = root.tag_name().namespace().unwrap_or_default();
    namespace.contains("ubl")
        || first(root, "AccountingSupplierParty").is_some()
        || first(root, "LegalMonetaryTotal").is_some()
}

#[must_use]
pub fn read(root: Node<'_, '_>) -> Structured {
    let code = text(root, &["InvoiceTypeCode", "CreditNoteTypeCode"]).map(|t| t.0).unwrap_or_default();
    let is_credit = root.tag_name().name().ends_with("CreditNote") || CREDIT_CODES.contains(&code.as_str());
    let currency =
        text(root, &["DocumentCurrencyCode", "InvoiceCurrencyCode"]).or_else(|| currency_of_total(root));
    let code = currency.as_ref().map(|c| c.0.clone()).unwrap_or_default();
    let seller = first(root, "AccountingSupplierParty/Party").or_else(|| first(root, "SellerParty"));
    let buyer = first(root, "AccountingCustomerParty/Party").or_else(|| first(root, "BuyerParty"));
    let none = || field(None, "not in the XML");
    let totals = "LegalMonetaryTotal";
    let total = |element: &str| money(text(root, &[&format!("{totals}/{element}")]));
    let fields = Fields {
        supplier: seller.map_or_else(none, party_name),
        vat_id: seller.map_or_else(none, tax_id),
        buyer: buyer.map_or_else(none, party_name),
        number: name(root, &["ID"]),
        issue_date: day(text(root, &["IssueDate"])),
        due_date: day(text(root, &["DueDate", "PaymentDueDate", "PaymentMeans/PaymentDueDate"])),
        currency: field(currency, "not in the XML"),
        net: total("TaxExclusiveAmount"),
        tax: money(tax(root, &code)),
        total: total("TaxInclusiveAmount"),
        payable: total("PayableAmount"),
    };
    Structured { kind: if is_credit { Kind::CreditNote } else { Kind::Invoice }, fields, flags: Vec::new() }
}

fn currency_of_total(root: Node<'_, '_>) -> Option<(String, String)> {
    let node = first(root, "LegalMonetaryTotal/PayableAmount")?;
    node.attribute("currencyID")
        .map(|c| (c.to_owned(), "LegalMonetaryTotal/PayableAmount/@currencyID".into()))
}

fn party_name(party: Node<'_, '_>) -> Field {
    name(party, &["PartyLegalEntity/RegistrationName", "PartyName/Name", "Person/FamilyName"])
}

/// The VAT number before a local tax number.
fn tax_id(party: Node<'_, '_>) -> Field {
    let schemes = all(party, "PartyTaxScheme");
    let is_vat =
        |n: &&Node<'_, '_>| text(**n, &["TaxScheme/ID"]).is_some_and(|t| t.0.eq_ignore_ascii_case("VAT"));
    let best = schemes.iter().find(is_vat).or_else(|| schemes.first());
    let id = best
        .and_then(|n| text(*n, &["CompanyID"]))
        .map(|(id, _)| (compact(&id), "PartyTaxScheme/CompanyID".to_owned()));
    field(id.filter(|(id, _)| !id.is_empty()), "not in the XML")
}

#[must_use]
pub fn compact(id: &str) -> String {
    id.chars().filter(|c| !c.is_whitespace()).collect()
}

/// The total in the document's currency: a second one may be stated for the tax office.
fn tax(root: Node<'_, '_>, currency: &str) -> Option<(String, String)> {
    let amounts = all(root, "TaxTotal/TaxAmount");
    let own = amounts
        .iter()
        .find(|n| n.attribute("currencyID").is_some_and(|c| c == currency))
        .or_else(|| amounts.first())?;
    Some((content(*own), "TaxTotal/TaxAmount".into()))
}
