/**
 * The sessions of a process as one layer value: whoever names it shares them. A session is opened when it is asked for,
 * and closed when nobody has used it for a minute, or with the layer.
 */
import { Session } from "@reelgraph/onnx"

export const layer = Session.layer()
