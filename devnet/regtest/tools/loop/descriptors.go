// Prints, as one binary FileDescriptorSet, what the pinned loopd says on the wire, to who
// swaps and to its server. The regtest suite holds our protos against it.
package main

import (
	"log"
	"os"

	"github.com/lightninglabs/loop/looprpc"
	"github.com/lightninglabs/loop/swapserverrpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
)

func main() {
	set := &descriptorpb.FileDescriptorSet{}

	for _, file := range []protoreflect.FileDescriptor{
		looprpc.File_client_proto,
		swapserverrpc.File_server_proto,
	} {
		set.File = append(set.File, protodesc.ToFileDescriptorProto(file))
	}

	encoded, err := proto.Marshal(set)
	if err != nil {
		log.Fatal(err)
	}
	if _, err := os.Stdout.Write(encoded); err != nil {
		log.Fatal(err)
	}
}
