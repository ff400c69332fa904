# What the lazy names of __init__.py are, for type checkers and editors.
from ctan_monai.apps.bundles import create_bundle as create_bundle
from ctan_monai.apps.bundles import evaluate as evaluate
from ctan_monai.apps.bundles import predict as predict
from ctan_monai.apps.bundles import train as train
from ctan_monai.data.cases.cache import read_case_file as read_case_file
from ctan_monai.data.cases.case import Case as Case
from ctan_monai.data.datasets.tabular import tabular_datalist as tabular_datalist
from ctan_monai.data.lists.dataset import SeededDataset as SeededDataset
from ctan_monai.engines.handlers.metrics_handler import MultiTaskMetrics as MultiTaskMetrics
from ctan_monai.engines.handlers.weighting_handler import WeightingHandler as WeightingHandler
from ctan_monai.engines.loop.evaluator import MultiTaskEvaluator as MultiTaskEvaluator
from ctan_monai.engines.loop.inferer import MultiTaskInferer as MultiTaskInferer
from ctan_monai.engines.loop.trainer import MultiTaskTrainer as MultiTaskTrainer
from ctan_monai.engines.runs.run_network import network_of_run as network_of_run
from ctan_monai.errors import CheckpointError as CheckpointError
from ctan_monai.errors import ConfigError as ConfigError
from ctan_monai.errors import CtanError as CtanError
from ctan_monai.errors import DataError as DataError
from ctan_monai.losses import DynamicWeightAverage as DynamicWeightAverage
from ctan_monai.losses import MultiTaskLoss as MultiTaskLoss
from ctan_monai.losses import create_weighting as create_weighting
from ctan_monai.metrics.for_task import metrics_for as metrics_for
from ctan_monai.networks import create_network as create_network
from ctan_monai.networks import methods as methods
from ctan_monai.tasks import Classification as Classification
from ctan_monai.tasks import Regression as Regression
from ctan_monai.tasks import Segmentation as Segmentation
from ctan_monai.transforms import LoadCaseFiled as LoadCaseFiled
from ctan_monai.transforms import postprocess_for as postprocess_for

__version__: str
