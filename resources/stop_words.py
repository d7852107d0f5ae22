"""English and Spanish words of four letters or more that carry no meaning of their own: no gap, and no sign of one topic."""

# fmt: off
STOP_WORDS = frozenset((
    "about", "above", "across", "after", "again", "against", "almost", "along", "already", "also", "although",
    "always", "among", "another", "anything", "around", "away", "back", "because", "become", "before", "began",
    "behind", "being", "below", "between", "beyond", "both", "bring", "came", "cannot", "comes", "could", "does",
    "doing", "done", "down", "during", "each", "either", "else", "enough", "even", "ever", "every", "everything",
    "example", "find", "first", "follow", "following", "found", "from", "gave", "general", "getting", "give",
    "given", "goes", "going", "gone", "good", "great", "have", "having", "hence", "here", "however", "important",
    "inside", "instead", "into", "itself", "keep", "kept", "kind", "known", "large", "later", "least", "less",
    "like", "little", "long", "look", "made", "make", "makes", "making", "many", "maybe", "might", "more", "most",
    "much", "must", "near", "need", "never", "next", "none", "nothing", "often", "once", "only", "other", "others",
    "otherwise", "ours", "over", "part", "people", "perhaps", "place", "possible", "quite", "rather", "really",
    "said", "same", "section", "seem", "seemed", "seems", "several", "shall", "should", "shown", "simply", "since",
    "small", "some", "something", "sometimes", "soon", "still", "such", "sure", "take", "taken", "than", "that",
    "their", "them", "themselves", "then", "there", "therefore", "these", "they", "thing", "things", "think",
    "this", "those", "though", "through", "thus", "time", "together", "toward", "towards", "under", "until", "upon",
    "used", "using", "usually", "very", "want", "well", "went", "were", "what", "when", "where", "whether", "which",
    "while", "whole", "whom", "whose", "will", "with", "within", "without", "work", "would", "years", "your",
    "yourself", "figure", "chapter", "question", "además", "ahora", "algunos", "aunque", "cada", "como", "cuando",
    "desde", "donde", "durante", "ella", "ellos", "entonces", "entre", "esta", "estas", "este", "estos", "hasta",
    "mientras", "mismo", "mucho", "muchos", "nosotros", "nuestra", "nuestro", "para", "pero", "porque", "puede",
    "pueden", "siempre", "sobre", "también", "tenemos", "tiene", "tienen", "todas", "todos", "una", "unas", "unos",
    "usted",
))
# fmt: on
