"""The configuration of each recommender: its hyper-parameters, one section per name."""

from typing import Annotated, Literal, Self, get_args

from pydantic import Field, model_validator

from brmrs.config.section import Rate, Section, Share, Weight


class MostPopularConfig(Section):
    """Items by their number of training interactions."""

    name: Literal["most-popular"] = "most-popular"


class BPRMFConfig(Section):
    """BPR-MF (Rendle 2009)."""

    name: Literal["bpr-mf"] = "bpr-mf"
    dim: int = Field(64, gt=0)
    regularization: Weight = 1e-4


class LightGCNConfig(Section):
    """LightGCN (He 2020)."""

    name: Literal["lightgcn"] = "lightgcn"
    dim: int = Field(64, gt=0)
    layers: int = Field(3, ge=0)
    regularization: Weight = 1e-4


class BM3Config(Section):
    """BM3 (Zhou 2023; method/003, 004)."""

    name: Literal["bm3"] = "bm3"
    dim: int = Field(64, gt=0)
    layers: int = Field(1, ge=0)
    dropout: Rate = 0.5  # of the contrastive target views
    regularization: Weight = 1e-4
    contrast: Weight = 2.0  # weight of the alignment and mask losses beside the reconstruction


class RankingTerms(Section):
    """BR-MRS's objective (method/000): weights of the ranking terms, and what CHNS draws."""

    chns: Weight  # lambda_h
    synergy: Weight  # lambda_s
    bpr: Weight = 1.0  # of the plain fused BPR term
    theta: float = Field(0.0, ge=0)  # margin of the synergy loss
    pool: int = Field(2, gt=0)  # |N(u)|, candidates of CHNS for each positive
    detach_reference: bool = True  # stop the gradient of max(D_t, D_v)
    # what a branch learns against: the candidate that is hardest for the other modality (CHNS),
    # or, to compare with, the one hardest for itself, or any
    negatives: Literal["cross-modal", "own-modality", "uniform"] = "cross-modal"

    @model_validator(mode="after")
    def _something_to_learn(self) -> Self:
        if self.chns + self.synergy + self.bpr == 0:
            raise ValueError("chns, synergy and bpr are all 0, nothing is left to learn; set one")
        if self.chns == 0 and self.negatives != "cross-modal":
            raise ValueError(
                f"negatives={self.negatives} is what CHNS draws, and chns is 0; set chns, too"
            )
        return self


class ObjectiveConfig(RankingTerms):
    """The objective as a plug-in: BPR alone unless asked for more."""

    chns: Weight = 0.0
    synergy: Weight = 0.0


class MMGCNConfig(Section):
    """MMGCN (Wei 2019)."""

    name: Literal["mmgcn"] = "mmgcn"
    dim: int = Field(64, gt=0)
    layers: int = Field(2, ge=1)
    regularization: Weight = 1e-4
    objective: ObjectiveConfig = ObjectiveConfig()


class GRCNConfig(Section):
    """GRCN (Wei 2020)."""

    name: Literal["grcn"] = "grcn"
    dim: int = Field(64, gt=0)  # of the ids and of each modality
    layers: int = Field(2, ge=1)  # over the refined graph
    routing: int = Field(3, ge=0)  # iterations of the user prototypes
    regularization: Weight = 1e-4
    objective: ObjectiveConfig = ObjectiveConfig()


class DualGNNConfig(Section):
    """DualGNN (Wang 2021)."""

    name: Literal["dualgnn"] = "dualgnn"
    dim: int = Field(64, gt=0)
    layers: int = Field(2, ge=0)
    user_k: int = Field(40, gt=0)  # neighbours of a user in the co-occurrence graph
    regularization: Weight = 1e-4
    objective: ObjectiveConfig = ObjectiveConfig()


class LATTICEConfig(Section):
    """LATTICE (Zhang 2021)."""

    name: Literal["lattice"] = "lattice"
    dim: int = Field(64, gt=0)  # also of the projected features
    layers: int = Field(2, ge=0)  # of LightGCN
    item_layers: int = Field(1, ge=0)  # over the learned item graph
    k: int = Field(10, gt=0)  # neighbours of an item in a learned graph
    initial_weight: Share = 0.9  # lambda, of the graph of the raw features in the learned one
    regularization: Weight = 1e-4
    objective: ObjectiveConfig = ObjectiveConfig()


class FREEDOMConfig(Section):
    """FREEDOM (Zhou and Shen 2023)."""

    name: Literal["freedom"] = "freedom"
    dim: int = Field(64, gt=0)
    layers: int = Field(2, ge=0)  # of LightGCN
    item_layers: int = Field(1, ge=0)  # over the frozen item graph
    visual_weight: Share = 0.1  # of the visual graph; the rest is the text graph's
    edge_dropout: Rate = 0.8  # of the user-item graph, anew each epoch, in training only
    feature_loss: Weight = 1e-3  # lambda, of BPR on the projected features
    objective: ObjectiveConfig = ObjectiveConfig()


class BRMRSConfig(RankingTerms):
    """BR-MRS (method/000 to 002)."""

    name: Literal["br-mrs"] = "br-mrs"
    dim: int = Field(64, gt=0)  # of one channel
    feature_dim: int = Field(256, gt=0)  # principal directions kept of each modality's features
    layers: int = Field(2, ge=0)  # L, of LightGCN over the user-item graph
    item_layers: int = Field(1, ge=0)  # over the item homogeneous graph
    user_layers: int = Field(1, ge=0)  # over the user homogeneous graph
    id_embeddings: bool = True  # a free embedding per item beside the projected features
    fusion: Literal["concat", "mean", "gate"] = "concat"  # phi
    chns: Weight = 0.3
    synergy: Weight = 0.3
    regularization: Weight = 1e-4  # lambda
    edge_dropout: Rate = 0.8  # of the user-item graph, anew each epoch, in training only


class VBPRConfig(Section):
    """VBPR (He, McAuley 2016)."""

    name: Literal["vbpr"] = "vbpr"
    dim: int = Field(64, gt=0)  # of the id part, and likewise of the feature part
    regularization: Weight = 1e-2


class DeepStyleConfig(Section):
    """DeepStyle (Liu 2017)."""

    name: Literal["deepstyle"] = "deepstyle"
    dim: int = Field(64, gt=0)
    regularization: Weight = 1e-2


class MAMLConfig(Section):
    """MAML, multimodal attentive metric learning (Liu 2019)."""

    name: Literal["maml"] = "maml"
    dim: int = Field(64, gt=0)
    hidden: int = Field(64, gt=0)  # units of the hidden layers
    negatives: int = Field(4, gt=0)  # for each positive
    margin: float = Field(1.6, gt=0)
    feature: Weight = 0.1  # of the distance of an item from its features
    covariance: Weight = 1.0


class VECFConfig(Section):
    """VECF (Chen 2019)."""

    name: Literal["vecf"] = "vecf"
    dim: int = Field(64, gt=0)
    negatives: int = Field(4, gt=0)  # for each positive
    regularization: Weight = 1e-2


class BUIRConfig(Section):
    """BUIR (Lee 2021)."""

    name: Literal["buir"] = "buir"
    dim: int = Field(64, gt=0)
    layers: int = Field(3, ge=0)
    momentum: Rate = 0.995  # of the target encoder
    edge_dropout: Rate = 0.2  # of what each encoder sees in an epoch


class ItemKNNConfig(Section):
    """Item-based nearest neighbours (Deshpande, Karypis 2004)."""

    name: Literal["item-knn"] = "item-knn"
    neighbours: int = Field(500, gt=0)  # of each item
    shrink: Weight = 100.0  # added to the denominator of the cosine


class EASEConfig(Section):
    """EASE (Steck 2019)."""

    name: Literal["ease"] = "ease"
    ridge: float = Field(200.0, gt=0)


ModelConfig = Annotated[
    MostPopularConfig
    | BPRMFConfig
    | LightGCNConfig
    | BM3Config
    | VBPRConfig
    | DeepStyleConfig
    | MAMLConfig
    | VECFConfig
    | BUIRConfig
    | ItemKNNConfig
    | EASEConfig
    | MMGCNConfig
    | GRCNConfig
    | DualGNNConfig
    | LATTICEConfig
    | FREEDOMConfig
    | BRMRSConfig,
    Field(discriminator="name"),
]
MODEL_SECTIONS: dict[str, type[Section]] = {
    section.model_fields["name"].default: section for section in get_args(get_args(ModelConfig)[0])
}
