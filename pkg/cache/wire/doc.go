// Package wire reads and writes the bytes of Kubernetes objects without decoding
// them. What an apiserver sends for an object is kept as it came (Body) and put
// into lists, watch events and answers to GETs between bytes that are made here,
// so that the result is, byte for byte, what the apiserver would have sent.
//
// # What is kept
//
// Of JSON, the object without kind and apiVersion of a built-in type, and without
// its first brace; of protobuf, the message inside of runtime.Unknown. It is the
// part that all of the places above share. At ingest one pass over it finds the
// metadata and the selectable fields (Meta); nothing else is looked at.
//
// # How it is written
//
// A Format knows what stands before, between and after bodies. A Writer takes
// these pieces and the bodies and makes one content encoding of them. In gzip and
// in framed snappy the bodies are spliced, too: each is compressed once, for all
// answers to come, and what joins them is stored uncompressed between. A gzip
// stream needs the CRC of everything at its end, which is combined from those of
// the pieces.
//
// # What is checked
//
// All JSON is checked to be such as encoding/json takes, without the space between
// tokens that apiservers do not send, and what is looked at must not be there twice.
// Strings that are not UTF-8 are taken and sent on, as apiservers do, and have U+FFFD
// in Meta, as decoders make of them. Of protobuf the messages that are looked into are
// checked. Nothing is larger in memory than the largest object allowed.
//
// What cannot be spliced with certainty is an error (ErrMalformed), and whoever
// asked has the apiserver answer.
package wire
