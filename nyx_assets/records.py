"""The rows that flow between stages: Arrow schemas of every table, and how a row gets its id.

Public columns are listed in the README; more may be added, none renamed. `crawl` is a partition, so it stands in the
path of a file (`crawl=<key>/`), not in the file, and readers get it back as a column.
"""

import hashlib

import numpy as np
import pyarrow as pa

from training_kernels.documents import Document

SEGMENTS = pa.list_(pa.struct([("kind", pa.string()), ("text", pa.string()), ("image", pa.string())]))

ID_DIGITS = 20
"""Hex digits of an id: 80 bits, so a billion rows collide with a chance of about 4e-7."""


def content_id(*parts: str) -> str:
    """Shortened SHA-256 of the parts, each ended by a zero byte so that ('ab', 'c') differs from ('a', 'bc')."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.encode("utf-8", "surrogatepass"))
        digest.update(b"\0")
    return digest.hexdigest()[:ID_DIGITS]


def document_key(document: Document) -> str:
    """A text that is equal exactly for equal documents, to make ids from: each segment with its kind and length."""
    return "".join(
        f"text {len(segment.text)} {segment.text}" if segment.text is not None else f"image {segment.image}"
        for segment in document.segments
    )


CRAWL_DOCUMENTS = pa.schema(
    [
        ("doc_id", pa.string()),
        ("url", pa.string()),
        ("title", pa.string()),
        ("language", pa.string()),
        ("licence", pa.string()),
        ("segments", SEGMENTS),
        ("num_images", pa.int32()),
        ("source_file", pa.string()),  # file of the delivery, relative to the crawl folder
        ("source_row", pa.int64()),  # row of that file
    ]
)

REJECTED_DOCUMENTS = pa.schema(
    [
        ("doc_id", pa.string()),  # of the page that keeps its other pictures; null for a rejected page
        ("kind", pa.string()),  # "page" or "picture"
        ("reference", pa.string()),  # the page's address, or the picture reference as it stood in the page
        ("rule", pa.string()),  # machine-readable cause, e.g. "missing_file"
        ("reason", pa.string()),  # the same for a person
        ("source_file", pa.string()),
        ("source_row", pa.int64()),
        ("position", pa.int32()),  # of the picture in the page; null for a page
    ]
)

MINHASH = pa.list_(pa.uint32(), 128)
"""A MinHash of NUM_PERMUTATIONS permutations (near_copies.py)."""

PAGE_SIGNATURES = pa.schema(
    [
        ("doc_id", pa.string()),
        ("page_key", pa.string()),  # the address without what changes when a page is crawled again
        ("content_digest", pa.string()),  # equal for pages of equal words; null for a page without any
        ("is_comparable", pa.bool_()),  # whether it has enough words for its minhash to say something
        ("minhash", MINHASH),
    ]
)

PICTURE_SIGNATURES = pa.schema(
    [
        ("doc_id", pa.string()),
        ("image", pa.string()),
        ("phash", pa.string()),  # perceptual hash in hex digits; null for a plain area
    ]
)

CHUNK_SIGNATURES = pa.schema(
    [
        ("chunk_id", pa.string()),
        ("doc_id", pa.string()),
        ("content_digest", pa.string()),
        ("is_comparable", pa.bool_()),
        ("minhash", MINHASH),
    ]
)

NEAR_DUPLICATES = pa.schema(
    [
        ("kind", pa.string()),  # "page", "chunk" or "picture"
        ("id", pa.string()),  # doc_id, chunk_id or digest; only of what has a copy or near copy
        ("cluster", pa.string()),  # least id of those that hang together
        ("nearest", pa.string()),  # the most similar other one
        ("similarity", pa.float64()),  # to it: estimated Jaccard of word runs, or share of equal bits
        ("method", pa.string()),  # "equal", "minhash" or "phash"
    ]
)

PAGE_FURNITURE = pa.schema(
    [
        ("kind", pa.string()),  # "picture" or "chunk"
        ("id", pa.string()),  # cluster of its near copies, or its own id
        ("num_pages", pa.int64()),  # that show it: more than the recipe's limit, so it ties none together
    ]
)

LINK_ROT = pa.schema(
    [
        ("host", pa.string()),
        ("rule", pa.string()),  # cause of a loss as in rejected_documents; "taken" for what was had
        ("num_references", pa.int64()),
        ("share", pa.float64()),  # of the references to the host
        ("example", pa.string()),
    ]
)

PAGE_CLUSTERS = pa.schema(
    [
        ("doc_id", pa.string()),
        ("cluster", pa.string()),  # least page key among the pages that belong together
    ]
)

CHUNKED_CORPUS = pa.schema(
    [
        ("chunk_id", pa.string()),
        ("doc_id", pa.string()),
        ("position", pa.int32()),  # 0 for the first chunk of a page
        ("segments", SEGMENTS),
        ("text_tokens", pa.int32()),  # by the backbone's tokenizer; pictures count nothing
        ("num_images", pa.int32()),
        ("modality", pa.string()),
    ]
)

SAMPLED_CHUNKS = pa.schema(
    [
        ("chunk_id", pa.string()),
        ("stratum", pa.string()),  # "text_only", "single_image" or "multi_image"
        ("draw", pa.float64()),  # 0 to 1, by hash of the chunk's id and the seed
        ("rate", pa.float64()),  # a chunk whose draw is below it is asked about
        ("variants", pa.list_(pa.string())),  # calls to the teacher about this chunk; none for one that was not drawn
        ("reason", pa.string()),  # why it is not asked about; null if it is
    ]
)

RAW_QA = pa.schema(
    [
        ("qa_id", pa.string()),
        ("chunk_id", pa.string()),
        ("variant", pa.string()),  # of the call: "text_only", "single_image" or "multi_image"
        ("question_type", pa.string()),  # as the teacher named it; "other" for one that was not asked for
        ("question", SEGMENTS),
        ("answer", pa.string()),
        ("problem", pa.string()),  # why the reply could not be read as a pair; null if it could
        ("teacher", pa.string()),
        ("is_stand_in", pa.bool_()),
        ("prompt_version", pa.string()),
        ("request_digest", pa.string()),
        ("input_tokens", pa.int64()),  # of the call, divided among its pairs
        ("output_tokens", pa.int64()),
        ("cost_usd", pa.float64()),
    ]
)

FILTERED_QA = pa.schema(
    [
        ("qa_id", pa.string()),
        ("chunk_id", pa.string()),
        ("doc_id", pa.string()),
        ("variant", pa.string()),
        ("question_type", pa.string()),
        ("question", SEGMENTS),
        ("answer", pa.string()),
        ("original_answer", pa.string()),  # as first written; another than `answer` where that was refined
        ("options", pa.list_(pa.string())),
        ("right_option", pa.int32()),  # 0-based
        ("judge_score", pa.float64()),  # null where the recipe asks no judge
        ("marks", pa.list_(pa.string())),  # checks that objected and only mark
        ("split", pa.string()),  # "train", "dev" or "test"
        ("query_modality", pa.string()),
        ("target_modality", pa.string()),
        ("teacher", pa.string()),
        ("is_stand_in", pa.bool_()),
    ]
)

REJECTED_QA = pa.schema(
    [
        ("qa_id", pa.string()),
        ("chunk_id", pa.string()),
        ("variant", pa.string()),
        ("question_type", pa.string()),
        ("question", SEGMENTS),
        ("answer", pa.string()),  # as it was when the pair was refused
        ("original_answer", pa.string()),
        ("check", pa.string()),  # step of the funnel
        ("rule", pa.string()),  # the check's name, or what went wrong in it, e.g. "refused_call"
        ("reason", pa.string()),
        ("threshold", pa.float64()),  # of the check; null for a reply that held no pair
        ("measured", pa.float64()),  # in the unit of the threshold; null where nothing could be measured
        ("teacher", pa.string()),
        ("is_stand_in", pa.bool_()),
    ]
)

QA_FUNNEL = pa.schema(
    [
        ("step", pa.int32()),  # 1 for the first
        ("check", pa.string()),  # "sample", "write", "read", or a check of the recipe
        ("unit", pa.string()),  # what is counted: "chunk" or "pair"
        ("threshold", pa.float64()),
        ("num_in", pa.int64()),
        ("num_out", pa.int64()),
        ("num_rejected", pa.int64()),
        ("rejected_by_rule", pa.list_(pa.struct([("rule", pa.string()), ("number", pa.int64())]))),
        ("num_marked", pa.int64()),
        ("num_refined", pa.int64()),  # pairs whose answer this step shortened
        ("asked", pa.string()),  # model that the step called; null for a step without calls
        ("is_stand_in", pa.bool_()),
        ("num_calls", pa.int64()),
        ("num_refused_calls", pa.int64()),
        ("input_tokens", pa.int64()),
        ("output_tokens", pa.int64()),
        ("cost_usd", pa.float64()),  # what the replies cost when they were paid, in whichever run that was
        ("request_digests", pa.list_(pa.string())),  # of its answered calls, as in the ledger; of "write", see raw_qa
        ("examples", pa.list_(pa.string())),  # qa_id or chunk_id of the first that were rejected
    ]
)

NEGATIVES = pa.schema(
    [
        ("qa_id", pa.string()),
        ("rank", pa.int32()),  # 1 for the hardest negative that was kept; refused ones keep the rank of retrieval
        ("chunk_id", pa.string()),
        ("score", pa.float64()),  # of the miner: BM25 score, or cosine
        ("positive_score", pa.float64()),  # of the golden chunk; null if the miner cannot read it
        ("miner", pa.string()),
    ]
)

REFUSED_NEGATIVES = pa.schema(
    [
        ("qa_id", pa.string()),
        ("rank", pa.int32()),  # in the miner's ranking, 1 for the first
        ("chunk_id", pa.string()),
        ("score", pa.float64()),
        ("positive_score", pa.float64()),
        ("miner", pa.string()),
        ("reason", pa.string()),
    ]
)

FEEDBACK_PREFERENCES = pa.schema(
    [
        ("qa_id", pa.string()),
        ("window_rank", pa.int32()),  # 1 for the window that starts at the first hit, 0 for no document at all
        ("window", pa.list_(pa.string())),  # chunk ids in rank order
        ("similarity", pa.float64()),  # of the window's first chunk to the query
        ("answer", pa.string()),
        ("grade", pa.float64()),  # 0 to 1
        ("role", pa.string()),  # "positive", "negative" or "unused"
        ("answers_alone", pa.bool_()),  # of the query: True if it was answered without a document; null if refused
        ("num_not_asked", pa.int32()),  # of the query: windows after the last one asked, which no role depends on
        ("generator", pa.string()),
        ("is_stand_in", pa.bool_()),
        ("input_tokens", pa.int64()),
        ("output_tokens", pa.int64()),
        ("cost_usd", pa.float64()),
    ]
)

FEEDBACK_ROUNDS = pa.schema(
    [
        ("round", pa.int32()),  # 1 for the first
        ("checkpoint", pa.string()),  # data version of what was trained in it
        ("num_queries", pa.int64()),  # training questions that were tried
        ("num_preferences", pa.int64()),  # of them, those that a window answered
        ("metric", pa.string()),
        ("dev_score", pa.float64()),  # over all chunks, at full width
        ("gain", pa.float64()),  # against the checkpoint that the round retrieved with
        ("interval_low", pa.float64()),  # of the gain: 95 % of paired bootstrap samples lie between low and high
        ("interval_high", pa.float64()),
        ("num_dev_queries", pa.int64()),
        ("calls", pa.int64()),  # of its tries, as the ledger has them
        ("cached_calls", pa.int64()),  # beside these: answered before, and not paid again
        ("input_tokens", pa.int64()),  # of the calls
        ("output_tokens", pa.int64()),
        ("cost_usd", pa.float64()),
        ("goes_on", pa.bool_()),  # whether the gain is worth another round
        ("reason", pa.string()),
        ("is_chosen", pa.bool_()),  # in `feedback_rounds`: whether its checkpoint is finetuned_checkpoint; else null
        ("is_stand_in", pa.bool_()),  # True if no VLM answered in it
    ]
)

CHUNK_CAPTIONS = pa.schema(
    [
        ("image", pa.string()),  # SHA-256
        ("caption", pa.string()),  # null if there is none
        ("reason", pa.string()),  # why there is none; else null
        ("captioner", pa.string()),
        ("is_stand_in", pa.bool_()),  # True if a rule named the colours, since no VLM was there
        ("input_tokens", pa.int64()),
        ("output_tokens", pa.int64()),
        ("cost_usd", pa.float64()),
    ]
)

ALTERED_QUERIES = pa.schema(
    [
        ("qa_id", pa.string()),
        ("chunk_id", pa.string()),  # golden chunk, as in filtered_qa
        ("question", SEGMENTS),  # with altered copies in place of its pictures
        ("alterations", pa.list_(pa.string())),  # what was done to each picture, in order
    ]
)

RETRIEVAL_SCORES = pa.schema(
    [
        ("retriever", pa.string()),
        ("suite", pa.string()),
        ("split", pa.string()),
        ("dim", pa.int32()),  # Matryoshka dim; 0 for a retriever without embeddings
        ("modality", pa.string()),  # of the query; "all" for the mean over all queries
        ("metric", pa.string()),
        ("value", pa.float64()),
        ("num_queries", pa.int64()),
        ("is_stand_in", pa.bool_()),  # True if no VLM wrote the questions
    ]
)

RAG_SCORES = pa.schema(
    [
        ("retriever", pa.string()),  # "none": no document shown; "golden": the golden chunk shown
        ("split", pa.string()),
        ("metric", pa.string()),
        ("value", pa.float64()),
        ("interval_low", pa.float64()),  # 95 % of bootstrap samples of the questions lie between low and high
        ("interval_high", pa.float64()),
        ("num_queries", pa.int64()),
        ("generator", pa.string()),
        ("is_stand_in", pa.bool_()),
    ]
)

RAG_DIFFERENCES = pa.schema(
    [
        ("split", pa.string()),
        ("metric", pa.string()),
        ("retriever", pa.string()),  # or a bound, as in RAG_SCORES
        ("against", pa.string()),
        ("value", pa.float64()),
        ("against_value", pa.float64()),
        ("difference", pa.float64()),  # value - against_value
        ("interval_low", pa.float64()),  # 95 % of paired bootstrap samples lie between low and high
        ("interval_high", pa.float64()),
        ("p_value", pa.float64()),  # of the two-sided randomisation test
        ("num_queries", pa.int64()),
        ("generator", pa.string()),
        ("is_stand_in", pa.bool_()),
    ]
)


def chunk_embeddings_schema(dim: int) -> pa.Schema:
    """Schema of `chunk_embeddings` at full width `dim`; rows are unit-norm float32."""
    return pa.schema([("chunk_id", pa.string()), ("embedding", pa.list_(pa.float32(), dim))])


def caption_embeddings_schema(dim: int) -> pa.Schema:
    """Schema of `caption_embeddings`; rows are unit-norm float32, or zero where nothing is to be read."""
    return pa.schema(
        [
            ("chunk_id", pa.string()),
            ("text_digest", pa.string()),  # SHA-256 of what was embedded: the chunk with captions for its pictures
            ("embedder", pa.string()),  # as CaptionRecipe names it, with the version of its checkpoint if it has one
            ("embedding", pa.list_(pa.float32(), dim)),
        ]
    )


def embedding_matrix(table: pa.Table) -> np.ndarray:
    """float32 [rows, dim]: the `embedding` column of a chunk_embeddings table."""
    column = table["embedding"].combine_chunks()
    return column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), column.type.list_size)


PUBLIC_EXAMPLES = pa.schema(
    [
        ("example_id", pa.string()),
        ("source", pa.string()),  # name of the public set
        ("query", SEGMENTS),
        ("positive", SEGMENTS),
        ("negatives", pa.list_(SEGMENTS)),
        ("copies", pa.int32()),  # times that it stands in an epoch
    ]
)

REFUSED_PUBLIC_EXAMPLES = pa.schema(
    [
        ("source", pa.string()),
        ("reference", pa.string()),  # example_id, or file and row of what is no example; "" for a whole set
        ("rule", pa.string()),
        ("reason", pa.string()),
    ]
)

TRAINING_MANIFEST = pa.schema(
    [
        ("input", pa.string()),  # asset that a training run reads
        ("crawl", pa.string()),  # its partition; null for an unpartitioned asset
        ("num_rows", pa.int64()),
        ("data_version", pa.string()),
    ]
)

RETRIEVAL_DIFFERENCES = pa.schema(
    [
        ("suite", pa.string()),
        ("split", pa.string()),
        ("metric", pa.string()),
        ("retriever", pa.string()),  # both at full width
        ("against", pa.string()),
        ("value", pa.float64()),
        ("against_value", pa.float64()),
        ("difference", pa.float64()),  # value - against_value
        ("interval_low", pa.float64()),  # 95 % of paired bootstrap samples lie between low and high
        ("interval_high", pa.float64()),
        ("p_value", pa.float64()),  # of the two-sided randomisation test
        ("num_queries", pa.int64()),
        ("is_stand_in", pa.bool_()),
    ]
)

MODALITY_REPORT = pa.schema(
    [
        ("suite", pa.string()),
        ("split", pa.string()),
        ("retriever", pa.string()),
        ("query_modality", pa.string()),
        ("target_modality", pa.string()),  # of the golden candidate
        ("blanked", pa.string()),  # what was taken out of the query: "nothing", "text" or "pictures"
        ("hit_at_1", pa.float64()),
        ("hit_at_10", pa.float64()),
        ("ndcg_at_10", pa.float64()),
        ("wrong_modality_share", pa.float64()),  # queries whose first hit is of another modality than every gold
        ("num_queries", pa.int64()),
        ("is_stand_in", pa.bool_()),
    ]
)

WRONG_ANSWERS = pa.schema(
    [
        ("qa_id", pa.string()),
        ("retriever", pa.string()),
        ("blame", pa.string()),  # "not_retrieved", "below_window" or "misread"
        ("golden_rank", pa.int32()),  # of the golden chunk or its copy; null if it is not among the first hits
        ("window", pa.list_(pa.string())),  # chunk ids that were shown
        ("answer", pa.string()),
        ("golden_answer", pa.string()),
        ("oracle_answer", pa.string()),  # with the golden chunk alone
        ("oracle_is_right", pa.bool_()),
        ("generator", pa.string()),
        ("is_stand_in", pa.bool_()),
    ]
)

BLAME_SPLIT = pa.schema(
    [
        ("retriever", pa.string()),
        ("outcome", pa.string()),  # "right", or what is to blame: see WRONG_ANSWERS
        ("num_answers", pa.int64()),
        ("share", pa.float64()),  # of all answers with this retriever
        ("oracle_right_share", pa.float64()),  # of these, right with the golden chunk alone
        ("examples", pa.list_(pa.string())),  # qa_id
        ("generator", pa.string()),
        ("is_stand_in", pa.bool_()),
    ]
)

QUALITY_GATE = pa.schema(
    [
        ("candidate", pa.string()),  # data version of the checkpoint that asks to go live
        ("live_before", pa.string()),  # of the one that was live; null if none was
        ("promoted", pa.bool_()),
        ("promoted_retriever", pa.string()),  # which checkpoint went live; null if none did
        ("decided_by", pa.string()),  # "gate", or "person" for an override
        ("decided_at", pa.string()),  # of an override; UTC, ISO 8601
        ("reason", pa.string()),
        ("metric", pa.string()),
        ("candidate_score", pa.float64()),  # on the dev questions, as all that follow
        ("live_score", pa.float64()),
        ("difference", pa.float64()),
        ("interval_low", pa.float64()),  # 95 % of paired bootstrap samples lie between low and high
        ("interval_high", pa.float64()),
        ("p_value", pa.float64()),
        ("num_queries", pa.int64()),
    ]
)

GATE_COMPARISONS = pa.schema(
    [
        ("candidate", pa.string()),
        ("split", pa.string()),
        ("against", pa.string()),  # retriever: promoted, pretrained, untrained or bm25
        ("role", pa.string()),  # "decides", "may veto" or "for the record"
        ("outcome", pa.string()),  # "better", "worse" or "not told apart"
        ("metric", pa.string()),
        ("candidate_score", pa.float64()),
        ("against_score", pa.float64()),
        ("difference", pa.float64()),
        ("interval_low", pa.float64()),
        ("interval_high", pa.float64()),
        ("p_value", pa.float64()),
        ("num_queries", pa.int64()),
    ]
)

INDEX_SETTINGS = pa.schema(
    [
        ("dim", pa.int32()),
        ("precision", pa.string()),  # of the stored numbers: "float32", "float16" or "int8"
        ("metric", pa.string()),
        ("score", pa.float64()),  # on the dev questions, with the promoted checkpoint
        ("loss", pa.float64()),  # below the best score of the table, as a share of it
        ("bytes_per_vector", pa.int64()),
        ("search_ms_per_query", pa.float64()),  # exact search on one machine; compare within the table only
        ("is_recommended", pa.bool_()),  # the narrowest dim of its precision within the recipe's loss
        ("num_queries", pa.int64()),
        ("num_candidates", pa.int64()),
    ]
)

FINAL_INDEX = pa.schema(
    [
        ("version", pa.string()),
        ("is_live", pa.bool_()),
        ("checkpoint", pa.string()),  # data version of the checkpoint whose embeddings it holds
        ("checkpoint_folder", pa.string()),  # from the home's root
        ("dim", pa.int32()),
        ("index_type", pa.string()),
        ("metric", pa.string()),
        ("precision", pa.string()),  # "float32", or "int8" where the best are compared again in float32
        ("num_chunks", pa.int64()),
        ("recall_at_10", pa.float64()),  # of the canary queries against exact search
        ("crawls", pa.list_(pa.string())),
        ("built_at", pa.string()),
    ]
)

CATALOG = pa.schema([("name", pa.string())])

REPORT_SECTIONS = pa.schema([("section", pa.string()), ("is_shown", pa.bool_())])

FAILED_ATTEMPTS = pa.schema(
    [
        ("asset", pa.string()),
        ("crawl", pa.string()),
        ("code_version", pa.string()),
        ("delivery", pa.string()),  # data version of landed_crawl that it was made from
        ("error", pa.string()),
        ("attempted_at", pa.string()),  # UTC, ISO 8601
        ("run_id", pa.string()),  # a run counts once for each asset of a partition
    ]
)

LANDED_CRAWL = pa.schema(
    [
        ("file", pa.string()),  # file of the delivery: Parquet, JSON lines, or one page
        ("folder", pa.string()),  # of the delivery: picture references are relative to it
        ("num_rows", pa.int64()),
        ("num_bytes", pa.int64()),
        ("fingerprint", pa.string()),  # of the whole delivery: names, sizes and times of its files
    ]
)
