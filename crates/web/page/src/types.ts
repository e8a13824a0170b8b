// The documents that the commands print with --json, as far as the page reads them.

export interface Token { id: number; text: string | null }
export interface Prediction extends Token { probability: number }
export interface TargetPrediction extends Prediction { rank: number }

export interface Summary {
  model: string;
  prompt?: string;
  tokens: Token[];
  objective: { kind: string; positions: number[]; targets: number[]; minus?: number[] };
  loss: number;
  answer?: Prediction;
  target?: TargetPrediction;
  minus?: TargetPrediction;
  predictions: { position: number; target?: TargetPrediction; top: Prediction[] }[];
  layers: { layer: number; delta_norms: Record<string, number> }[];
  adapter: string;
  driver: string;
}

export interface HeadScore { layer: number; head: number; pattern_norm?: number; reversed_norm: number }
export interface Attention { schema: string; model: string; tokens: Token[]; heads: HeadScore[]; loss: number }

export interface LensEntry {
  site: string; layer: number; position: number; norm: number;
  target_rank: number | null; answer_rank: number; target_probability: number | null; entropy_bits: number;
  top: Prediction[]; bottom: Prediction[];
}
export interface Lens {
  schema: string; model: string; tokens: Token[]; position: number; answer: Prediction;
  target: TargetPrediction | null; loss: number; normalized: boolean; entries: LensEntry[];
}

export interface FlowNode {
  id: string; kind: string; layer: number; head?: number; index?: number; position?: number; label: string;
  activation?: number; norm: number; bottom_first?: boolean; top: Prediction[]; bottom: Prediction[];
  target_rank: number | null; target_probability: number | null; entropy_bits: number | null;
  gradient?: { norm: number; inner: number }; x: number; y: number;
}
export interface FlowLink {
  source: string; target: string; kind: string; weight: number; attention?: number; reversed?: number;
}
export interface Flow {
  schema: string; model: string; tokens: Token[]; position: number; layers: number[]; answer: Prediction;
  target: TargetPrediction | null; loss: number; normalized: boolean;
  counts: Record<string, number | null>; factors: Record<string, number>; nodes: FlowNode[]; links: FlowLink[];
}

/** Where the attention maps lie in the binary part; lower triangles, row by row. */
export interface MapsManifest {
  tokens: number;
  heads: number;
  layers: number[];
  /** Largest |A| and |R| of each head, by layer as in `layers`. */
  pattern_scale: number[][];
  reversed_scale: number[][];
  /** Heads whose values follow as f32, in this order, A then R of each. */
  exact: { layer: number; head: number }[];
}

export interface ModelShape { name: string; n_layer: number; n_head: number; n_embd: number; vocab_size: number; n_positions: number }

/** What was changed in the forward pass, in words. */
export interface Changed { ablate: string[]; patch?: string }

export interface PageDocument {
  schema: string;
  retrograd: string;
  view: string;
  shape: ModelShape;
  summary: Summary;
  attention: Attention | null;
  lens: Lens | null;
  flow: Flow | null;
  maps: MapsManifest | null;
  changed: Changed | null;
  full_precision?: string;
}
