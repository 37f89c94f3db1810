//! What dates are called.

use super::Entry;
use super::Role::{DueDate, IssueDate, OtherDate, PlainDate};

pub const DATES: &[Entry] = &[
    (
        "en",
        IssueDate,
        "invoice date|date of invoice|date of issue|issue date|date issued|issued|issued on|billing date|bill date|receipt date|date of receipt|document date|tax point|tax point date|invoice dated|dated|invoiced on|issue|credit note date|statement date of invoice|tax date|inv date|doc date|date paid|payment date|paid on|date of payment|transaction date|purchase date|date of purchase|date of sale|sale date|refund date|paid|bill dt|bill issued|transaction time|trans date|txn date|date/time|date time|invoice issued|refunded on|purchased on|charged on|issued date|credit date|donation date|tax invoice date",
    ),
    (
        "de",
        IssueDate,
        "Rechnungsdatum|Rechnungs-Datum|Ausstellungsdatum|Belegdatum|Beleg-Datum|Datum der Rechnung|Rechnung vom|Ausgestellt am|Gutschriftsdatum|Erstellt am|Fakturadatum|Gutschriftdatum|Datum Rechnung|Bondatum|Kaufdatum|Zahlungsdatum|Bezahlt am|Druckdatum Rechnung|Buchungsdatum|ausgestellt|Rg.-Datum|Re.-Datum|Zahldatum|Erstellungsdatum|Quittungsdatum|Erstattungsdatum|Spendendatum|Korrekturdatum",
    ),
    (
        "fr",
        IssueDate,
        "Date de facture|Date de facturation|Date facture|Date d'émission|Émise le|Facture du|Date de la facture|Émis le|Date d'établissement|Date d'achat|Date de paiement|Payé le|Date du reçu|Date de transaction|Établie le|Facturé le|Date de l'avoir|Date avoir|Date du paiement|Date du ticket|Date de vente|Réglé le|Date d'édition",
    ),
    (
        "es",
        IssueDate,
        "Fecha de factura|Fecha factura|Fecha de emisión|Fecha emisión|Fecha de expedición|Fecha de la factura|Emitida el|Fecha de compra|Fecha de pago|Fecha del recibo|Fecha expedición|Fecha de abono|Fecha de operación|Fecha del documento|Pagado el|Fecha de facturación|Fecha de la operación|Fecha del pago",
    ),
    ("ca", IssueDate, "Data de factura|Data d'emissió|Data factura"),
    (
        "it",
        IssueDate,
        "Data fattura|Data di emissione|Data documento|Data emissione|Emessa il|Data della fattura|Data ricevuta|Data di pagamento|Data acquisto|Fattura del|Data pagamento|Data di acquisto|Pagato il|Data nota di credito|Data transazione|Data del documento|Data di fatturazione|Emesso il",
    ),
    (
        "pt",
        IssueDate,
        "Data da fatura|Data de emissão|Data de fatura|Data emissão|Emitida em|Data do documento|Data de pagamento|Data da compra|Data fatura|Emitido em|Data do recibo|Data da nota de crédito|Pago em|Data de compra|Data do pagamento|Data de faturação|Data da transação",
    ),
    (
        "nl",
        IssueDate,
        "Factuurdatum|Factuur datum|Datum factuur|Datum van factuur|Notadatum|Uitgiftedatum|Faktuurdatum|Bondatum|Betaaldatum|Betaald op|Aankoopdatum|Creditdatum|Transactiedatum|Datum van uitgifte|Creditnotadatum|Factuur d.d|Betaaloverzichtdatum|Datum betaling|Documentdatum|Datum aankoop|Gefactureerd op",
    ),
    (
        "pl",
        IssueDate,
        "Data wystawienia|Data faktury|Data wystawienia faktury|Wystawiono dnia|Wystawiono|Data wystawienia dokumentu|Wystawiona dnia|Data paragonu|Data zakupu|Data płatności|Data dokumentu|Data korekty|Data zapłaty|Data transakcji|Zapłacono dnia|w dniu|Miejsce i data wystawienia|Data i miejsce wystawienia|Data wystawienia korekty",
    ),
    (
        "cs",
        IssueDate,
        "Datum vystavení|Datum faktury|Vystaveno|Vystaveno dne|Vystavena dne|Datum platby|Datum nákupu|Datum vystavení dokladu|Datum dokladu|Zaplaceno dne|Datum vystavení faktury|Datum prodeje|Datum vyhotovení|Datum úhrady|Datum transakce",
    ),
    (
        "sk",
        IssueDate,
        "Dátum vystavenia|Dátum faktúry|Vystavené|Vystavené dňa|Dátum platby|Dátum nákupu|Dátum vyhotovenia|Vyhotovené dňa|Dátum vystavenia faktúry|Dátum dokladu|Dátum úhrady|Zaplatené dňa|Dátum transakcie",
    ),
    (
        "da",
        IssueDate,
        "Fakturadato|Faktura dato|Udstedt|Udstedelsesdato|Bilagsdato|Betalingsdato for køb|Købsdato|Dato for faktura|Betalt den|Kreditnotadato|Udskrevet faktura|Regningsdato|Kvitteringsdato|Transaktionsdato|Udstedt den",
    ),
    (
        "sv",
        IssueDate,
        "Fakturadatum|Faktura datum|Utfärdad|Utfärdandedatum|Köpdatum|Betald den|Inköpsdatum|Kvittodatum|Betalningsdatum|Betaldatum|Kreditfakturadatum|Datum för köp|Betalt den|Transaktionsdatum|Fakturans datum|Dokumentdatum",
    ),
    (
        "no",
        IssueDate,
        "Fakturadato|Faktura dato|Utstedt|Utstedelsesdato|Kjøpsdato|Betalt den|Kreditnotadato|Bilagsdato|Betalingsdato|Utstedt dato|Transaksjonsdato|Dato for kjøp|Kvitteringsdato|Salgsdato",
    ),
    (
        "fi",
        IssueDate,
        "Laskun päivämäärä|Laskun päiväys|Laskupäivä|Päiväys|Laskutuspäivä|Laskun pvm|Ostopäivä|Maksupäivä|Maksettu|Ostoaika|Laskupvm|Hyvityslaskun päivä|Kuitin päivä|Tapahtumapäivä|Laskutuspvm|Kuitin päivämäärä|Ostopäivämäärä",
    ),
    (
        "et",
        IssueDate,
        "Arve kuupäev|Väljastatud|Väljastamise kuupäev|Ostukuupäev|Arve koostamise kuupäev|Koostamise kuupäev",
    ),
    ("lv", IssueDate, "Rēķina datums|Izrakstīšanas datums|Izrakstīts|Pirkuma datums|Izsniegšanas datums"),
    (
        "lt",
        IssueDate,
        "Sąskaitos data|Išrašymo data|Išrašyta|Pirkimo data|Sąskaitos išrašymo data|Sąskaitos faktūros data|Data išrašymo|Mokėjimo data",
    ),
    (
        "hu",
        IssueDate,
        "Számla kelte|Kiállítás dátuma|Számla dátuma|Kelt|Kiállítás kelte|Kiállítva|Számla kiállítás kelte|Vásárlás dátuma|Fizetés dátuma|Kiállítás napja|Kiállítás ideje|Kibocsátás dátuma|Bizonylat kelte|Számla kiállításának dátuma|Keltezés",
    ),
    (
        "ro",
        IssueDate,
        "Data facturii|Data emiterii|Data factură|Emisă la|Data emitere|Data plății|Data achiziției|Data eliberării|Data întocmirii|Data bonului|Data documentului|din data de|Emis la|Plătit la|Data tranzacției",
    ),
    (
        "bg",
        IssueDate,
        "Дата на издаване|Дата на фактура|Издадена на|Дата на фактурата|Дата на плащане|Дата на покупка|Дата на документа",
    ),
    (
        "el",
        IssueDate,
        "Ημερομηνία έκδοσης|Ημερομηνία τιμολογίου|Ημ/νία έκδοσης|Ημ. έκδοσης|Ημερομηνία πληρωμής|Ημερομηνία αγοράς|Ημερομηνία παραστατικού|Ημ/νία|Εκδόθηκε|Ημερομηνία συναλλαγής|Ημερομηνία απόδειξης|Ημερ. έκδοσης",
    ),
    (
        "hr",
        IssueDate,
        "Datum izdavanja|Datum računa|Datum izdavanja računa|Mjesto i datum izdavanja|Datum i vrijeme izdavanja|Datum plaćanja|Izdano|Datum kupnje|Datum izdavanja i vrijeme",
    ),
    (
        "sl",
        IssueDate,
        "Datum izdaje|Datum računa|Kraj in datum izdaje|Datum plačila|Izdano|Datum nakupa|Datum izdaje računa|Datum dokumenta",
    ),
    ("tr", IssueDate, "Fatura tarihi|Düzenleme tarihi|Düzenlenme tarihi"),
    ("ms", IssueDate, "Tarikh invois"),
    //
    ("en", PlainDate, "date|on|dt|as of|trip date|received on"),
    ("de", PlainDate, "Datum|vom|den|Tag"),
    ("fr", PlainDate, "Date|du|Le|en date du"),
    ("es", PlainDate, "Fecha|de fecha|a fecha"),
    ("it", PlainDate, "Data|del|in data"),
    ("pt", PlainDate, "Data|de"),
    ("nl", PlainDate, "Datum|van|d.d"),
    ("pl", PlainDate, "Data|z dnia|dnia|dn"),
    ("cs", PlainDate, "Datum|ze dne|dne"),
    ("sk", PlainDate, "Dátum|zo dňa|dňa"),
    ("da", PlainDate, "Dato|af|den"),
    ("sv", PlainDate, "Datum|av den"),
    ("no", PlainDate, "Dato|av|den"),
    ("fi", PlainDate, "Päivämäärä|Pvm|Päivä"),
    ("et", PlainDate, "Kuupäev"),
    ("lv", PlainDate, "Datums"),
    ("lt", PlainDate, "Data"),
    ("hu", PlainDate, "Dátum|Időpont"),
    ("ro", PlainDate, "Data|din"),
    ("bg", PlainDate, "Дата|от"),
    ("el", PlainDate, "Ημερομηνία|Ημ/νία"),
    ("hr", PlainDate, "Datum|od"),
    ("sl", PlainDate, "Datum|z dne"),
    ("tr", PlainDate, "Tarih|Tarihi"),
    ("ms", PlainDate, "Tarikh"),
    //
    (
        "en",
        DueDate,
        "due date|date due|payment due|payment due date|due|due by|due on|pay by|payable by|please pay by|payment date due|pay before|payment deadline|payment terms date|invoice due date|due date of payment|payable on|to be paid by|amount due by|is due on|due for payment on|total amount due on|payment due by|final payment date|pay on or before|total due by|due on or before|payment is due by|expected payment date|will be charged on|will be collected on|direct debit date|debited on or after|collection date of payment|please pay before|due for payment by|payment by",
    ),
    (
        "de",
        DueDate,
        "Fälligkeitsdatum|Fällig am|Fälligkeit|Zahlbar bis|Zahlungsziel|zahlbar bis zum|fällig bis|Zahlungsfrist|fällig|zahlbar am|Zahlungstermin|Zahlung bis|Bitte zahlen Sie bis|zu zahlen bis|spätestens bis|Zahlbar spätestens|Zahlbar bis spätestens|Fällig zum|Valuta|bis zum|bis spätestens|Zahlungsziel bis|Überweisen Sie bis|Fällig bis zum|wird abgebucht am|Lastschrift am|Abbuchung am|zahlbar netto bis|netto bis|Fälligkeitstermin|Einzug am|innerhalb 30 Tagen netto bis|innerhalb 14 Tagen netto bis",
    ),
    (
        "fr",
        DueDate,
        "Date d'échéance|Échéance|À payer avant le|Date limite de paiement|À régler avant le|Payable avant le|Date d'exigibilité|Paiement dû le|échéance le|Date de règlement|A payer pour le|Règlement avant le|Payable le|Date limite de règlement|avant le|au plus tard le|Prélèvement à partir du|Prélevé le|sera prélevé le|Echéance au|À payer au plus tard le|Date échéance|Règlement le|Prélèvement le",
    ),
    (
        "es",
        DueDate,
        "Fecha de vencimiento|Vencimiento|Fecha vencimiento|Vence el|Pagar antes del|Fecha límite de pago|Vto|Fecha de vto|Pagar antes de|Fecha límite|Fecha de cargo|A pagar antes del|Vencimientos|antes del",
    ),
    ("ca", DueDate, "Data de venciment|Venciment"),
    (
        "it",
        DueDate,
        "Scadenza|Data scadenza|Data di scadenza|Scadenza pagamento|Da pagare entro|Entro il|Pagare entro|Scadenze|Pagamento entro|Pagamento entro il|Scade il|Da pagare entro il|Termine di pagamento",
    ),
    (
        "pt",
        DueDate,
        "Data de vencimento|Vencimento|Pagar até|Data limite de pagamento|Vence em|Data de venc|Pagamento até|Data limite|Pagável até|Data vencimento|Prazo de pagamento|A pagar até",
    ),
    (
        "nl",
        DueDate,
        "Vervaldatum|Betalen voor|Uiterste betaaldatum|Te betalen voor|Uiterlijk|Te voldoen voor|Betaaltermijn tot|Betalen vóór|Betaal voor|Vervalt op|Betaling vóór|uiterlijk op|Te betalen uiterlijk|Voldoen voor|Uiterste betaaldag|Te voldoen uiterlijk|Te betalen vóór|Gelieve te betalen voor|Gelieve te betalen vóór|Betalen uiterlijk|Betalen uiterlijk op|wordt afgeschreven op|Incassodatum|Te voldoen vóór",
    ),
    (
        "pl",
        DueDate,
        "Termin płatności|Termin zapłaty|Zapłać do|Płatne do|Płatność do|Data płatności do|Termin|Do zapłaty do|Termin płatności do|do dnia|Termin zapłaty do",
    ),
    (
        "cs",
        DueDate,
        "Datum splatnosti|Splatnost|Splatné do|Den splatnosti|Uhraďte do|Splatná dne|Splatnost dne|Zaplatit do|Splatno dne|Splatnost do|Uhradit do",
    ),
    (
        "sk",
        DueDate,
        "Dátum splatnosti|Splatnosť|Splatné do|Deň splatnosti|Splatná dňa|Uhradiť do|Splatnosť do|Zaplatiť do",
    ),
    (
        "da",
        DueDate,
        "Forfaldsdato|Betalingsfrist|Betales senest|Forfald|Senest|Sidste rettidige betalingsdag|Betalingsdato|Forfalder|Forfalden|Sidste betalingsdag|Betalingsdag|Sidste rettidige betaling|betales senest den|Forfalder den|Rettidig betaling",
    ),
    (
        "sv",
        DueDate,
        "Förfallodatum|Förfaller|Betalas senast|Sista betalningsdag|Förfallodag|Betala senast|Oss tillhanda senast|tillhanda senast|Oss tillhanda|Betalning senast|Förfaller den|senast den|Sista betalningsdatum",
    ),
    (
        "no",
        DueDate,
        "Forfallsdato|Betalingsfrist|Forfall|Betales innen|Forfaller|Betal innen|Betalingsforfall|Forfaller den|Frist for betaling|betales innen den",
    ),
    (
        "fi",
        DueDate,
        "Eräpäivä|Maksettava viimeistään|Erääntyy|Eräpvm|Viimeinen maksupäivä|Laskun eräpäivä|Maksun eräpäivä|viimeistään|Erä pvm",
    ),
    ("et", DueDate, "Maksetähtaeg|Tasumise tähtaeg|Maksetähtpäev|Tähtaeg|Tasuda kuni|Makse tähtaeg"),
    ("lv", DueDate, "Apmaksas termiņš|Apmaksāt līdz|Samaksas termiņš|Apmaksas datums|Maksājuma termiņš"),
    (
        "lt",
        DueDate,
        "Apmokėti iki|Mokėjimo terminas|Sumokėti iki|Apmokėjimo terminas|Apmokėjimo data|Mokėti iki",
    ),
    (
        "hu",
        DueDate,
        "Fizetési határidő|Esedékesség|Fizetési hat.idő|Fizetés határideje|Fizetési határidő dátuma|Esedékesség dátuma|Esedékes|Határidő|Befizetési határidő|Fizetési határnap",
    ),
    (
        "ro",
        DueDate,
        "Data scadenței|Scadență|Termen de plată|Scadent la|Data scadentă|Scadența|Data scadenta|Scadentă la|Plătibil până la|Termen plată|Termenul de plată",
    ),
    (
        "bg",
        DueDate,
        "Срок за плащане|Падеж|Дата на падеж|Платима до|Краен срок|Падежна дата|Срок на плащане|Платете до",
    ),
    (
        "el",
        DueDate,
        "Ημερομηνία λήξης|Λήξη|Πληρωμή έως|Προθεσμία πληρωμής|Ημερομηνία πληρωμής έως|Πληρωτέο έως|Ημερομηνία οφειλής|Εξόφληση έως|Λήξη προθεσμίας|Καταληκτική ημερομηνία|Πληρωτέο μέχρι",
    ),
    (
        "hr",
        DueDate,
        "Datum dospijeća|Rok plaćanja|Dospijeće|Platiti do|Datum valute|Valuta plaćanja|Valuta|Dospijeće plaćanja",
    ),
    ("sl", DueDate, "Datum zapadlosti|Rok plačila|Zapadlost|Plačati do|Zapade|Zapade v plačilo|Valuta"),
    ("tr", DueDate, "Vade tarihi|Son ödeme tarihi|Vade"),
    //
    (
        "en",
        OtherDate,
        "delivery date|date of delivery|ship date|shipping date|date shipped|order date|date of order|ordered on|date ordered|order placed|placed on|supply date|date of supply|service date|billing period|service period|period|for the period|from|to|until|valid until|valid from|expires|expiry date|print date|printed|printed on|date printed|check in|check-in|check out|checkout|arrival|departure|date of birth|statement date|next billing date|renews on|subscription period|contract date|due diligence|delivery|expected delivery|warranty until|print time|exp date|expiry|valid thru|valid till|next payment|renewal date|for order|start date|end date|estimated delivery|last payment|previous payment|date delivered|ship dt",
    ),
    (
        "de",
        OtherDate,
        "Lieferdatum|Leistungsdatum|Leistungszeitraum|Lieferzeitraum|Bestelldatum|Bestellt am|Auftragsdatum|Abrechnungszeitraum|Zeitraum|Versanddatum|gültig bis|gültig von|Liefertermin|Leistungsmonat|Druckdatum|Anreise|Abreise|Lieferschein-Datum|Bestell-Datum|Leistungs-Datum|Vertragsdatum|Geburtsdatum|Auftrag-Datum|Auftrag-Datum-Lief|Bestellung vom|Liefer- und Leistungsdatum|Skonto bis|Lieferung am|Skonto innerhalb 10 Tagen bis|Lieferung|Voraussichtliche Lieferung|Gültig ab|Leistung vom|Lieferschein vom|Auftrag vom|Bezug|Einfahrt|Ausfahrt|Angebot vom|Nächste Abbuchung|Abrechnungsmonat|Mietbeginn|Bestellung Nr",
    ),
    (
        "fr",
        OtherDate,
        "Date de livraison|Date de commande|Période|Commandé le|Date d'expédition|Valable jusqu'au|Période de facturation|Livraison prévue|Date d'impression|Livré le|du mois de|Date de prestation|Date de la commande|Commande du|Arrivée|Départ|Prochaine échéance|Date de la prestation|Bon de livraison du|Date limite de validité|Devis du|Expédié le",
    ),
    (
        "es",
        OtherDate,
        "Fecha de entrega|Fecha de pedido|Fecha del pedido|Período|Periodo|Periodo de facturación|Fecha de envío|Válido hasta|Fecha pedido|Entrega prevista|Fecha de entrada|Fecha de salida|Entrada|Salida|Llegada|Fecha de impresión|Fecha de servicio|Pedido del|Albarán de fecha",
    ),
    (
        "it",
        OtherDate,
        "Data consegna|Data ordine|Data di consegna|Periodo|Data di spedizione|Valido fino al|Periodo di fatturazione|Data dell'ordine|Arrivo|Partenza|Ordine del|Data spedizione|Data DDT|DDT del|Data stampa|Consegna prevista|Data d'ordine|Periodo di riferimento|Data prestazione",
    ),
    (
        "pt",
        OtherDate,
        "Data de entrega|Data da encomenda|Data do pedido|Período|Data de envio|Válido até|Período de faturação|Data de carga|Entrega prevista|Chegada|Partida|Data de impressão|Data de expedição|Data da operação",
    ),
    (
        "nl",
        OtherDate,
        "Leverdatum|Besteldatum|Orderdatum|Periode|Verzenddatum|Geldig tot|Factuurperiode|Leveringsdatum|Besteld op|Bezorgdatum|Aankomst|Vertrek|Afdrukdatum|Datum bestelling|Verwachte levering|Order datum|Afleverdatum|Bestelling van|Printdatum|Prestatiedatum|Bezorging",
    ),
    (
        "pl",
        OtherDate,
        "Data sprzedaży|Data dostawy|Data zamówienia|Okres|Data wysyłki|Ważne do|Okres rozliczeniowy|Data wykonania usługi|Data dokonania dostawy|Data zakończenia dostawy|Data wydruku|Przyjazd|Wyjazd|Data dostawy/wykonania usługi|Data wydania|Data otrzymania zapłaty|Zamówiono|Data zakończenia|Data dokonania lub zakończenia dostawy",
    ),
    (
        "cs",
        OtherDate,
        "Datum uskutečnění zdanitelného plnění|DUZP|Datum zdanitelného plnění|Datum dodání|Datum objednávky|Období|Datum odeslání|Datum uskut. zdan. plnění|Datum uskutečnění plnění|Objednáno|Platnost do|Datum expedice|Zdanitelné plnění|Datum zdan. plnění|Datum tisku|Fakturační období",
    ),
    (
        "sk",
        OtherDate,
        "Dátum dodania|Dátum objednávky|Obdobie|Dátum odoslania|Dátum zdaniteľného plnenia|Dátum dodania tovaru|Objednané|Platnosť do|Deň dodania|Dátum expedície|Fakturačné obdobie|Dátum dodania služby|Dátum tlače",
    ),
    (
        "da",
        OtherDate,
        "Leveringsdato|Ordredato|Periode|Bestillingsdato|Forsendelsesdato|Gyldig til|Faktureringsperiode|Leveret|Bestilt|Ankomst|Afrejse|Afsendelsesdato|Forventet levering|Udskriftsdato|Abonnementsperiode",
    ),
    (
        "sv",
        OtherDate,
        "Leveransdatum|Orderdatum|Period|Beställningsdatum|Giltig till|Faktureringsperiod|Beställd|Ankomst|Avresa|Utskriftsdatum|Leveransdag|Förväntad leverans|Avtalsperiod|Skickad|Beställt den|Orderdag|Giltig t.o.m",
    ),
    (
        "no",
        OtherDate,
        "Leveringsdato|Ordredato|Periode|Bestillingsdato|Gyldig til|Faktureringsperiode|Bestilt|Ankomst|Avreise|Sendt|Forventet levering|Utskriftsdato|Levert",
    ),
    (
        "fi",
        OtherDate,
        "Toimituspäivä|Tilauspäivä|Ajanjakso|Toimituspvm|Tilauspvm|Voimassa|Laskutuskausi|Tilattu|Saapuminen|Lähtö|Tilauspäivämäärä|Toimituspäivämäärä|Arvioitu toimitus|Palvelun ajanjakso|Suorituspäivä|Tulostettu|Jakso",
    ),
    ("et", OtherDate, "Tarnekuupäev|Tellimuse kuupäev|Periood|Tarne kuupäev"),
    ("lv", OtherDate, "Piegādes datums|Pasūtījuma datums|Periods"),
    ("lt", OtherDate, "Pristatymo data|Užsakymo data|Laikotarpis|Tiekimo data"),
    (
        "hu",
        OtherDate,
        "Teljesítés dátuma|Teljesítés kelte|Teljesítés|Rendelés dátuma|Szállítás dátuma|Időszak|Teljesítés ideje|Teljesítés időpontja|Elszámolási időszak|Érkezés|Távozás|Szállítás várható|Érvényes|Megrendelés dátuma|Rendelés ideje|Teljesítés napja",
    ),
    (
        "ro",
        OtherDate,
        "Data livrării|Data comenzii|Perioada|Data expedierii|Valabil până la|Data livrare|Perioada de facturare|Check-in|Livrare estimată|Data comandă",
    ),
    (
        "bg",
        OtherDate,
        "Дата на доставка|Дата на поръчка|Период|Дата на данъчно събитие|Данъчно събитие|Дата на поръчката|Валидно до|Дата на дан. събитие",
    ),
    (
        "el",
        OtherDate,
        "Ημερομηνία παράδοσης|Ημερομηνία παραγγελίας|Περίοδος|Ημερομηνία αποστολής|Ισχύει έως|Άφιξη|Αναχώρηση|Περίοδος χρέωσης",
    ),
    (
        "hr",
        OtherDate,
        "Datum isporuke|Datum narudžbe|Razdoblje|Obračunsko razdoblje|Datum otpreme|Vrijedi do|Datum isporuke robe",
    ),
    (
        "sl",
        OtherDate,
        "Datum dobave|Datum naročila|Obdobje|Datum opravljene storitve|Datum opravljanja storitve|Datum odpreme|Velja do|Obračunsko obdobje|Datum storitve|Datum dobave/opravljene storitve",
    ),
];
