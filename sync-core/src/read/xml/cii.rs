//! UN/CEFACT CrossIndustryInvoice (Factur-X, ZUGFeRD 2, XRechnung) and its forerunner in ZUGFeRD 1.

use roxmltree::Node;

use super::Structured;
use super::tree::{all, content, day, field, first, money, name, text};
use super::ubl::{CREDIT_CODES, compact};
use crate::document::{Field, Fields, Kind};

#[must_use]
pub fn read(root: Node<'_, '_>) -> Structured {
    let document =
        first(root, "ExchangedDocument").or_else(|| first(root, "HeaderExchangedDocument")).unwrap_or(root);
    let trade = first(root, "SupplyChainTradeTransaction")
        .or_else(|| first(root, "SpecifiedSupplyChainTradeTransaction"))
        .unwrap_or(root);
    let agreement = first(trade, "ApplicableHeaderTradeAgreement")
        .or_else(|| first(trade, "ApplicableSupplyChainTradeAgreement"));
    let settlement = first(trade, "ApplicableHeaderTradeSettlement")
        .or_else(|| first(trade, "ApplicableSupplyChainTradeSettlement"));
    let seller = agreement.and_then(|a| first(a, "SellerTradeParty"));
    let buyer = agreement.and_then(|a| first(a, "BuyerTradeParty"));
    let code = text(document, &["TypeCode"]).map(|t| t.0).unwrap_or_default();
    let kind = if CREDIT_CODES.contains(&code.as_str()) { Kind::CreditNote } else { Kind::Invoice };
    let none = || field(None, "not in the XML");
    let currency = settlement.and_then(|s| text(s, &["InvoiceCurrencyCode"]));
    let currency_code = currency.as_ref().map(|c| c.0.clone()).unwrap_or_default();
    let sums = settlement.and_then(|s| {
        first(s, "SpecifiedTradeSettlementHeaderMonetarySummation")
            .or_else(|| first(s, "SpecifiedTradeSettlementMonetarySummation"))
    });
    let sum = |element: &str| money(sums.and_then(|s| in_currency(s, element, &currency_code)));
    let fields = Fields {
        supplier: seller.map_or_else(none, party_name),
        vat_id: seller.map_or_else(none, tax_id),
        buyer: buyer.map_or_else(none, party_name),
        number: name(document, &["ID"]),
        issue_date: day(text(document, &["IssueDateTime/DateTimeString", "IssueDateTime/DateTime"])),
        due_date: day(settlement.and_then(|s| {
            text(
                s,
                &[
                    "SpecifiedTradePaymentTerms/DueDateDateTime/DateTimeString",
                    "SpecifiedTradePaymentTerms/DueDateDateTime/DateTime",
                ],
            )
        })),
        currency: field(currency, "not in the XML"),
        net: sum("TaxBasisTotalAmount"),
        tax: sum("TaxTotalAmount"),
        total: sum("GrandTotalAmount"),
        payable: sum("DuePayableAmount"),
    };
    Structured { kind, fields, flags: Vec::new() }
}

fn party_name(party: Node<'_, '_>) -> Field {
    name(party, &["Name", "SpecifiedLegalOrganization/TradingBusinessName", "DefinedTradeContact/PersonName"])
}

fn tax_id(party: Node<'_, '_>) -> Field {
    let ids = all(party, "SpecifiedTaxRegistration/ID");
    let best = ids.iter().find(|n| n.attribute("schemeID") == Some("VA")).or_else(|| ids.first());
    let id = best.map(|n| (compact(&content(*n)), "SpecifiedTaxRegistration/ID".to_owned()));
    field(id.filter(|(id, _)| !id.is_empty()), "not in the XML")
}

/// The amount in the invoice's currency: tax may be stated in a second one.
fn in_currency(sums: Node<'_, '_>, element: &str, currency: &str) -> Option<(String, String)> {
    let amounts = all(sums, element);
    let own =
        amounts.iter().find(|n| n.attribute("currencyID") == Some(currency)).or_else(|| amounts.first())?;
    let value = content(*own);
    (!value.is_empty()).then(|| (value, element.to_owned()))
}
