//! National invoice formats as tables of paths: Facturae (Spain), KSeF FA (Poland), ebInterface (Austria),
//! Finvoice (Finland).

use roxmltree::Node;

use super::Structured;
use super::tree::{content, day, field, money};
use crate::document::{Fields, Kind};

struct Format {
    root: &'static str,
    /// An element that only this format has below its root.
    mark: &'static str,
    supplier: &'static [&'static str],
    vat_id: &'static [&'static str],
    buyer: &'static [&'static str],
    number: &'static [&'static str],
    issue_date: &'static [&'static str],
    due_date: &'static [&'static str],
    currency: &'static [&'static str],
    net: &'static [&'static str],
    tax: &'static [&'static str],
    total: &'static [&'static str],
    payable: &'static [&'static str],
    /// An element and the texts of it that make a credit note.
    credit: (&'static str, &'static [&'static str]),
}

const FORMATS: &[Format] = &[
    Format {
        root: "Facturae",
        mark: "Invoices",
        supplier: &["SellerParty CorporateName", "SellerParty Name"],
        vat_id: &["SellerParty TaxIdentificationNumber"],
        buyer: &["BuyerParty CorporateName", "BuyerParty Name"],
        number: &["InvoiceNumber"],
        issue_date: &["IssueDate"],
        due_date: &["InstallmentDueDate"],
        currency: &["InvoiceCurrencyCode"],
        net: &["InvoiceTotals TotalGrossAmountBeforeTaxes"],
        tax: &["InvoiceTotals TotalTaxOutputs"],
        total: &["InvoiceTotals InvoiceTotal"],
        payable: &["InvoiceTotals TotalExecutableAmount", "InvoiceTotals TotalOutstandingAmount"],
        credit: ("InvoiceClass", &["OR", "CR"]),
    },
    Format {
        root: "Faktura",
        mark: "Podmiot1",
        supplier: &["Podmiot1 Nazwa", "Podmiot1 PelnaNazwa"],
        vat_id: &["Podmiot1 NIP"],
        buyer: &["Podmiot2 Nazwa", "Podmiot2 PelnaNazwa"],
        number: &["Fa P_2"],
        issue_date: &["Fa P_1"],
        due_date: &["Platnosc TerminPlatnosci Termin", "Platnosc Termin"],
        currency: &["Fa KodWaluty"],
        net: &["Fa P_13_1"],
        tax: &["Fa P_14_1"],
        total: &["Fa P_15"],
        payable: &["Rozliczenie DoZaplaty"],
        credit: ("RodzajFaktury", &["KOR", "KOR_ZAL", "KOR_ROZ"]),
    },
    Format {
        root: "Invoice",
        mark: "Biller",
        supplier: &["Biller Address Name", "Biller Name"],
        vat_id: &["Biller VATIdentificationNumber"],
        buyer: &["InvoiceRecipient Address Name", "InvoiceRecipient Name"],
        number: &["InvoiceNumber"],
        issue_date: &["InvoiceDate"],
        due_date: &["PaymentConditions DueDate"],
        currency: &["@InvoiceCurrency"],
        net: &["TaxItem TaxableAmount"],
        tax: &["TaxItem TaxAmount"],
        total: &["TotalGrossAmount"],
        payable: &["PayableAmount"],
        credit: ("@DocumentType", &["CreditMemo"]),
    },
    Format {
        root: "Finvoice",
        mark: "SellerPartyDetails",
        supplier: &["SellerPartyDetails SellerOrganisationName"],
        vat_id: &["SellerPartyDetails SellerOrganisationTaxCode"],
        buyer: &["BuyerPartyDetails BuyerOrganisationName"],
        number: &["InvoiceDetails InvoiceNumber"],
        issue_date: &["InvoiceDetails InvoiceDate"],
        due_date: &["InvoiceDueDate"],
        currency: &["@AmountCurrencyIdentifier"],
        net: &["InvoiceDetails InvoiceTotalVatExcludedAmount"],
        tax: &["InvoiceDetails InvoiceTotalVatAmount"],
        total: &["InvoiceDetails InvoiceTotalVatIncludedAmount"],
        payable: &["EpiDetails EpiInstructedAmount"],
        credit: ("InvoiceTypeCode", &["INV02"]),
    },
];

#[must_use]
pub fn read(root: Node<'_, '_>) -> Option<Structured> {
    let name = root.tag_name().name();
    let format = FORMATS.iter().find(|f| f.root == name && find(root, f.mark).is_some())?;
    let get = |paths: &[&str]| paths.iter().find_map(|p| lookup(root, p).map(|v| (v, (*p).to_owned())));
    let named = |paths: &[&str]| field(get(paths), "not in the XML");
    // national spellings of dates (20260304) and amounts (12,50)
    let amount = |paths: &[&str]| money(get(paths).map(|(v, p)| (v.replace(',', "."), p)));
    let kind = match lookup(root, format.credit.0) {
        Some(code) if format.credit.1.contains(&code.as_str()) => Kind::CreditNote,
        _ => Kind::Invoice,
    };
    let fields = Fields {
        supplier: named(format.supplier),
        vat_id: named(format.vat_id),
        buyer: named(format.buyer),
        number: named(format.number),
        issue_date: day(get(format.issue_date)),
        due_date: day(get(format.due_date)),
        currency: named(format.currency),
        net: amount(format.net),
        tax: amount(format.tax),
        total: amount(format.total),
        payable: amount(format.payable),
    };
    Some(Structured { kind, fields, flags: Vec::new() })
}

/// Descends through the first element of each name, at any depth; `@name` is an attribute.
fn lookup(root: Node<'_, '_>, path: &str) -> Option<String> {
    if let Some(attribute) = path.strip_prefix('@') {
        return root
            .descendants()
            .find_map(|n| n.attributes().find(|a| a.name() == attribute).map(|a| a.value().to_owned()));
    }
    let mut node = root;
    for step in path.split(' ') {
        node = find(node, step)?;
    }
    let text = content(node);
    (!text.is_empty()).then_some(text)
}

fn find<'a, 'i>(from: Node<'a, 'i>, name: &str) -> Option<Node<'a, 'i>> {
    from.descendants().skip(1).find(|n| n.is_element() && n.tag_name().name() == name)
}
