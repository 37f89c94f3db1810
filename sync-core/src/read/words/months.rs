//! Month names, folded. A word means a month if it is one of these, or an abbreviation of at least three
//! letters of one of the full names of the same month (`sept`, `febr`).

pub const MONTHS: [&str; 12] = [
    "january januar janvier enero gennaio januari stycznia styczen ledna leden januara ianuarie januari tammikuu tammikuuta januar sijecnja sijecanj sausio janvaris janvari jaanuar ιανουαριος ιανουαριου януари января січня gener jan jaen genn ene sty led ian sij jaan xaneiro janeiro ocak eanair urtarrila gen",
    "february februar fevrier febrero febbraio februari fevereiro lutego luty unora unor februara februarie helmikuu helmikuuta veljace veljaca vasario februaris veebruar φεβρουαριος φεβρουαριου февруари февраля лютого febrer febr feb fev fevr lut uno hel velj subat",
    "march marz maerz mars marzo maart marca marzec brezna brezen martie mart marcius maaliskuu maaliskuuta ozujka ozujak kovo marts martxoa marec μαρτιος μαρτιου март марта березня marc mar mrt mrz bre maalis ozu marco",
    "april avril abril aprile kwietnia kwiecien dubna duben aprila aprilie aprilis huhtikuu huhtikuuta travnja travanj balandzio aprill απριλιος απριλιου април апреля квітня apr avr abr kwi dub huhti tra nisan",
    "may mai mayo maggio mei maio maja maj kvetna kveten majus toukokuu toukokuuta svibnja svibanj geguzes maijs μαιος μαιου май мая травня maig kve touko svi mayis mag",
    "june juni juin junio giugno junho czerwca czerwiec cervna cerven juna jun iunie junius kesakuu kesakuuta lipnja lipanj birzelio junijs juuni ιουνιος ιουνιου юни июня червня juny giu cze cerv kesa lip haziran iun junij",
    "july juli juillet julio luglio julho lipca lipiec cervence cervenec jula jul iulie julius heinakuu heinakuuta srpnja srpanj liepos julijs juuli ιουλιος ιουλιου юли июля липня juliol lug lipi heina srp temmuz iul julij juil",
    "august aout agosto augustus sierpnia sierpien srpna srpen augusta aug augusztus elokuu elokuuta kolovoza kolovoz rugpjucio augusts αυγουστος αυγουστου август августа серпня agost ago sie elo kol agustos avgust avg",
    "september septembre septiembre settembre setembro wrzesnia wrzesien zari septembra sept sep septembrie szeptember syyskuu syyskuuta rujna rujan rugsejo septembris σεπτεμβριος σεπτεμβριου септември сентября вересня setembre set wrz syys ruj eylul szept zar",
    "october oktober octobre octubre ottobre outubro pazdziernika pazdziernik rijna rijen oktobra okt oct octombrie lokakuu lokakuuta listopada spalio oktobris οκτωβριος οκτωβριου октомври октября жовтня ott out paz rij loka oktoober ekim",
    "november novembre noviembre novembro listopad novembra nov noiembrie marraskuu marraskuuta studenoga studeni lapkricio novembris νοεμβριος νοεμβριου ноември ноября листопада noi marras stu kasim",
    "december dezember decembre diciembre dicembre dezembro grudnia grudzien prosince prosinec decembra dec decembrie joulukuu joulukuuta prosinca prosinac gruodzio decembris detsember δεκεμβριος δεκεμβριου декември декабря грудня desembre dez dic gru pro joulu des aralik desember",
];

/// `listopada` is October in Croatian and November in Polish and Czech: a document's other words decide,
/// so such names are listed here and read as no month.
pub const AMBIGUOUS: &[&str] = &["listopada", "srp", "lip"];
