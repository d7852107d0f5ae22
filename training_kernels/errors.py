"""Every error that this project raises on purpose.

    NyxError
      ConfigError(ValueError)                  a description of work is impossible
      DataError(ValueError)                    a row, file or field breaks its schema
        CrawlUnanswered                        the store of a crawl does not answer, or refuses; no fault of a delivery
      IncompleteArtifact(FileNotFoundError)    a table or folder whose writer did not finish, or was never made
      VLMError(RuntimeError)                   a VLM server refused, after retries
        ReplyFormatError                       a reply did not parse; becomes a rejected row, never leaves its stage
      BudgetReached(RuntimeError)              a cap on calls, tokens or money is reached; the asset stops, no row is rejected
      CourierFailed(RuntimeError)              the process that makes VLM calls was ended, or met a bug; the asset stops
      ReplyMissing(LookupError)                replay mode met a request whose reply is not in the cache
      IndexUnavailable(RuntimeError)           the vector index is held by another process, or lacks what was asked
      TrainingDiverged(RuntimeError)           the loss or its gradient stopped being a number, or rose far and stayed
      OutOfMemory(MemoryError)                 a batch does not fit the device; says which setting to lower
      TrainingProcessFailed(RuntimeError)      a process of a training run died; carries its traceback
      AlreadyTraining(RuntimeError)            another process trains into the same folder
      LeaseLost(RuntimeError)                  another host took over what this one had fallen silent on

To add one: subclass NyxError and one class of the standard library, take only a message (so that it pickles across
workers), and say in the message what was got, what is allowed and what to do.
"""


class NyxError(Exception):
    """Root of the tree: catch it to catch everything that the project raises on purpose."""


class ConfigError(NyxError, ValueError):
    """A description of work is impossible."""


class DataError(NyxError, ValueError):
    """A row, file or field breaks its schema."""


class CrawlUnanswered(DataError):
    """The store of a crawl does not answer, or refuses: no fault of a delivery."""


class IncompleteArtifact(NyxError, FileNotFoundError):
    """A table or folder whose writer did not finish, or that was never made."""


class AlreadyQuarantined(IncompleteArtifact):
    """A table that one check found wrong is not looked at by the others."""


class CheckpointMoved(NyxError, RuntimeError):
    """Another checkpoint was promoted while something was made of the one before."""


class VLMError(NyxError, RuntimeError):
    """A VLM server refused, after retries."""


class ReplyFormatError(VLMError):
    """A VLM's reply did not parse."""


class BudgetReached(NyxError, RuntimeError):
    """A cap on calls, tokens or money is reached: nothing more may be asked. No VLMError, which becomes a row."""


class CourierFailed(NyxError, RuntimeError):
    """The process that makes VLM calls was ended, or met a bug of ours. No VLMError, which becomes a row."""


class ReplyMissing(NyxError, LookupError):
    """Replay mode met a request whose reply is not in the cache. No VLMError, which becomes a row."""


class IndexUnavailable(NyxError, RuntimeError):
    """The vector index is held by another process, or lacks the version that was asked for."""


class TrainingDiverged(NyxError, RuntimeError):
    """The loss or its gradient stopped being a number, or the loss rose far above its lowest and stayed there."""


class OutOfMemory(NyxError, MemoryError):
    """A batch does not fit the device; the training state is intact."""


class TrainingProcessFailed(NyxError, RuntimeError):
    """A process of a training run died."""


class AlreadyTraining(NyxError, RuntimeError):
    """Another process trains into the same folder."""


class LeaseLost(NyxError, RuntimeError):
    """Another process took over what this one held on shared storage, because it had fallen silent."""
