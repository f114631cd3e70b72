"""The words that the made-up conversations are made of, the common ones of each kind first."""

from __future__ import annotations

from typing import Final


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


NOUNS: Final = _words("""
    order account invoice payment card address appointment ticket booking delivery refund contract
    message question answer number name date time day week month year minute hour morning evening
    price discount fee deposit balance statement receipt charge total amount currency tax bill
    customer agent doctor nurse driver teacher engineer manager colleague neighbour friend family
    flight train bus seat luggage passport visa gate terminal airport station hotel room floor key
    table report file folder page photo picture scan signature form field button screen password
    phone laptop printer router cable battery charger keyboard monitor camera headset speaker
    server network connection database backup update version error warning log test release branch
    meeting call transcript summary note list calendar reminder schedule deadline project budget
    plan proposal decision policy rule exception limit warranty insurance claim damage repair part
    parcel box label shelf warehouse supplier product model size colour shirt jacket shoe chair
    lamp desk mattress kettle oven fridge washer heater thermostat boiler pipe leak roof window
    garden fence garage car tyre engine brake bicycle helmet road bridge tunnel parking permit
    prescription tablet dose allergy symptom fever cough headache injury knee shoulder tooth blood
    sample result vaccine clinic ward surgery therapist dentist optician lens patient record
    school course lesson exam grade homework library book chapter language translation dictionary
    recipe flour butter sugar salt pepper onion garlic tomato potato cheese bread coffee tea lunch
    dinner restaurant menu waiter kitchen music concert album museum painting film theatre festival
    match team player coach score league race runner coast island mountain valley river lake forest
    storm rain snow wind temperature forecast sunrise harvest farm cattle fish harbour sail anchor
    bank branch loan mortgage interest pension salary employer salesperson tenant landlord lease
    council election petition letter envelope stamp parade candle ribbon puzzle lantern compass
""")

VERBS: Final = _words("""
    need want have see find check change cancel book send get give take make move keep tell ask
    know think believe hope expect remember forget understand explain confirm verify approve reject
    open close start stop finish continue wait arrive leave return visit call write read sign print
    scan upload download install update restart reset connect disconnect charge replace repair
    measure compare count calculate estimate round add remove include exclude replace sort filter
    search look notice report mention describe translate summarise draft edit review publish share
    pay refund deduct transfer deposit withdraw borrow lend owe save spend earn buy sell order ship
    deliver collect pack unpack label store lose miss break damage fix clean paint build carry lift
    push pull turn fold wrap cut mix boil bake taste serve drink eat cook plant water harvest drive
    ride walk run swim climb sail fly land board transfer park rent lease insure claim renew extend
    expire schedule postpone delay hurry rest sleep wake breathe cough hurt heal examine prescribe
    swallow apply rinse teach learn study practise pass fail win draw sing play listen watch record
    monitor deploy test debug merge revert trace rotate encrypt restore migrate index parse retry
    apologise thank promise refuse accept agree argue complain suggest recommend prefer choose
""")

ADJECTIVES: Final = _words("""
    new old last next same other first second early late available full empty open whole short long
    small large high low good bad right wrong clear simple quick slow easy hard cheap expensive
    free busy ready sure happy sorry certain likely possible normal usual strange local foreign
    public private personal shared main separate direct final current previous original temporary
    monthly annual daily weekly urgent minor serious severe mild chronic recent broken missing
    damaged faulty loose tight noisy quiet warm cold hot dry wet clean dirty heavy light thick thin
    narrow wide deep flat round sharp soft rough smooth bright dark pale blue green red yellow white
    black grey brown wooden plastic metal paper digital manual automatic remote secure valid
    invalid expired pending partial complete exact average total double single spare extra free
    polite patient careful honest curious nervous tired hungry thirsty young elderly famous ancient
    modern rural coastal northern southern eastern western inner outer upper lower central hidden
    fragile sturdy portable seasonal organic spicy sweet bitter sour crisp stale ripe frozen
""")

ADVERBS: Final = _words("""
    now then today tomorrow again already still soon later always never often usually sometimes
    really only also too even just almost nearly exactly about actually probably perhaps certainly
    quickly slowly carefully directly separately together online abroad upstairs nearby twice once
    recently finally instead anyway otherwise however meanwhile therefore
""")

NAMES: Final = _words("""
    Anna Bruno Carla Deniz Elif Farid Greta Hugo Ines Jonas Katya Liam Mina Noor Oskar Paula Quentin
    Rosa Samir Tilda Umar Vera Wanda Yusuf Zoe Alder Birch Castell Drummond Eastley Fennimore
    Garrick Hollis Ivers Jessop Kestrel Lowry Marsden Norcott Oakham Pemberly Quill Redfern Stavely
    Thorne Underhay Vickery Wexford Yarrow
""")

PLACES: Final = _words("""
    Ashford Brindle Carrow Dunmore Elstead Farleigh Glenby Harwick Inverlow Kelby Larkhill Merton
    Northgate Oakridge Penhall Queensferry Rowanton Silverdale Tarnside Upwell Westbrook Yarmley
""")

OPENERS: Final = (
    "Thank you,",
    "Of course.",
    "Right, so",
    "I see that",
    "Could you tell me whether",
    "Just to be sure,",
    "One moment please,",
    "As far as I can tell,",
    "Sorry about that,",
    "Before we go on,",
    "According to the record,",
    "I have looked it up:",
    "What happened is that",
    "Please note that",
    "If I understand correctly,",
)

PREPOSITIONS: Final = _words("""
    for with from to in on at by after before without under over near about through during until
""")

PRONOUNS: Final = _words("I you we they it she he somebody nobody everyone this that")

DETERMINERS: Final = _words("the a my your our their this that each another no any some")

JOINERS: Final = ("and", "but", "because", "so that", "although", "and then", "when", "unless")

TOOLS: Final = _words("""
    find_booking look_up_account send_message create_ticket refund_payment search_documents
    change_address read_file run_tests query_database check_calendar book_appointment
""")
